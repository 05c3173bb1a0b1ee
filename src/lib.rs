//! Ringlane: a layer-4 load balancer for Linux.
