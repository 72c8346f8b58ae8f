//! Free ports and addresses on loopback.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use crate::error::Error;

/// Below the ports that Linux hands to outgoing connections (32768 and up), which could take a
/// port between our look and the server's bind.
const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port that every proxy has open.
const PROXY_STATUS: u16 = 15021;

/// Ports that this process has looked at, so that two control planes never get the same one.
static LOOKED_AT: AtomicU16 = AtomicU16::new(0);

/// A port that is free on 127.0.0.1 and was not handed out before by this process.
pub fn free() -> Result<u16, Error> {
    // Processes that run side by side begin at different places.
    let start = process::id().wrapping_mul(37) % u32::from(COUNT);
    for _ in 0..COUNT {
        let step = LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        let offset = (start + u32::from(step)) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or(0);
        if is_free(port)? {
            return Ok(port);
        }
    }
    Err(Error::Unexpected(format!(
        "no port from {FIRST} on is free on 127.0.0.1"
    )))
}

/// `port` if it is free, else [`Error::PortTaken`].
pub fn exactly(port: u16) -> Result<u16, Error> {
    if is_free(port)? {
        Ok(port)
    } else {
        Err(Error::PortTaken(port))
    }
}

/// An address of 127.0.0.0/8 with all its ports, which nobody else was given. Linux has them all without configuration.
pub fn address() -> Result<Ipv4Addr, Error> {
    for _ in 0..COUNT {
        let [low, high] = LOOKED_AT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        // Processes that run side by side have different second bytes, or the look at a port tells them apart.
        let [process, ..] = process::id().to_le_bytes();
        let address = Ipv4Addr::new(127, process | 0x80, high, low);
        if TcpListener::bind((address, PROXY_STATUS)).is_ok() {
            return Ok(address);
        }
    }
    Err(Error::Unexpected(
        "no address of 127.0.0.0/8 is free".into(),
    ))
}

fn is_free(port: u16) -> Result<bool, Error> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(false),
        Err(error) => Err(Error::io(format!("port {port} on 127.0.0.1"))(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let sentence = exactly(port).unwrap_err().to_string();
        assert!(
            sentence.starts_with(&format!("port {port} on 127.0.0.1 is taken")),
            "{sentence}"
        );
    }

    #[test]
    fn ports_are_never_handed_out_twice() {
        let (one, two) = (free().unwrap(), free().unwrap());
        assert_ne!(one, two);
    }
}
