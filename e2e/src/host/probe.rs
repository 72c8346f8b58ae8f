//! Plain HTTP to a process on this machine: probes and metrics.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
};

use crate::{error::Error, wait::SOON};

/// The body of the answer to `GET path`; an answer other than 200 is an error with its status line.
pub fn get(port: u16, path: &str) -> Result<String, Error> {
    let failed = || Error::io(format!("GET http://127.0.0.1:{port}{path}"));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(failed())?;
    stream.set_read_timeout(Some(SOON)).map_err(failed())?;
    // Version 1.0, so that the answer ends with the connection and is never chunked.
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed())?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.contains(" 200 ") {
        Ok(body.to_string())
    } else {
        Err(Error::Unexpected(format!("GET {path}: {status}")))
    }
}
