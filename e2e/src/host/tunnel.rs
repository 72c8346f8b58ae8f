//! Bytes between two connections, both ways.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    thread,
};

/// A connection of which there can be two handles, one for each way.
pub(crate) trait Connection: Read + Write + Send + Sized + 'static {
    /// Another handle of it.
    fn handle(&self) -> io::Result<Self>;

    /// Says that nothing more will be written.
    fn end(&self) -> io::Result<()>;
}

impl Connection for TcpStream {
    fn handle(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Connection for UnixStream {
    fn handle(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn end(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Copies both ways until both sides are done.
pub(crate) fn tunnel(mut from: impl Connection, mut to: impl Connection) {
    let (Ok(mut from_too), Ok(mut to_too)) = (from.handle(), to.handle()) else {
        return;
    };
    let back = thread::spawn(move || {
        // An end of either side, orderly or not, ends this direction.
        let _ = io::copy(&mut to_too, &mut from_too);
        let _ = from_too.end();
    });
    let _ = io::copy(&mut from, &mut to);
    let _ = to.end();
    let _ = back.join();
}
