//! What runs on this machine: programs, their processes, ports and directories.

pub mod envoy;
pub mod go_programs;
pub mod http;
pub mod load;
pub mod ports;
pub mod probe;
pub mod process;
pub mod progress;
pub mod server;
pub mod workspace;

pub(crate) mod balancer;
pub(crate) mod tunnel;
pub(crate) mod watchdog;
