//! Which CPUs: the list that a configuration gives.
#![forbid(unsafe_code)]

use std::str::FromStr;

/// A list of CPUs as in `0-3,6`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl FromStr for CpuList {
    type Err = String;

    /// Errors: what is not a number or a range.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| {
                text.trim()
                    .parse()
                    .ok()
                    .filter(|cpu| *cpu < CPUS_MAX)
                    .ok_or_else(|| format!("`{part}` is no CPU; expected a list such as 0-3,6"))
            };
            let (first, last): (usize, usize) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("`{part}` is a range that ends before it starts"));
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(Self(cpus))
    }
}

/// More CPUs than any machine has.
const CPUS_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_are_read() {
        assert_eq!("0-2,6,1".parse(), Ok(CpuList(vec![0, 1, 2, 6])));
        for wrong in ["", "a", "3-1", "1-", "0,,1", "99999999"] {
            assert!(wrong.parse::<CpuList>().is_err(), "{wrong}");
        }
    }
}
