//! Which CPUs this process may use, and pinning a thread to one.
#![forbid(unsafe_code)]

/// The CPUs that this process may run on, in ascending order.
pub fn allowed_cpus() -> Vec<usize> {
    let mut cpus: Vec<usize> = core_affinity::get_core_ids()
        .unwrap_or_default()
        .into_iter()
        .map(|core| core.id)
        .collect();
    cpus.sort_unstable();
    cpus
}

/// How many CPUs' worth of time this process may use: the smaller of the affinity set and the
/// cgroup's quota, at least 1.
pub fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Pins the calling thread to a CPU; `false` if the kernel refused.
pub fn pin_to(cpu: usize) -> bool {
    core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
}
