//! A proxy on loopback that breaks connections as it is told: between a client that must bear it and a real server.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Whole,
    /// Cut when the client has sent so many bytes.
    CutAfter(usize),
    /// The server hears everything; of its answer nothing comes back.
    Unanswered,
}

#[derive(Clone)]
pub struct Proxy {
    pub address: SocketAddr,
    is_off: Arc<AtomicBool>,
    /// Connections that did not stay whole.
    pub broken: Arc<AtomicUsize>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    /// `fate` is told the number of the connection. Serves until the process ends.
    pub fn before(server: &str, fate: impl Fn(usize) -> Fate + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy {
            address: listener.local_addr().unwrap(),
            is_off: Arc::default(),
            broken: Arc::default(),
            open: Arc::default(),
        };
        let (server, here) = (server.to_owned(), proxy.clone());
        std::thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                if let (Ok(client), false) = (client, here.is_off.load(Ordering::Relaxed)) {
                    here.serve(&client, &server, fate(number));
                }
            }
        });
        proxy
    }

    /// Away: what is open breaks, what comes is closed at once. Or back.
    pub fn set_off(&self, is_off: bool) {
        self.is_off.store(is_off, Ordering::Relaxed);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, client: &TcpStream, server: &str, fate: Fate) {
        let Ok(server) = TcpStream::connect(server) else { return };
        let (up_max, is_answered) = match fate {
            Fate::Whole => (usize::MAX, true),
            Fate::CutAfter(bytes) => (bytes, true),
            Fate::Unanswered => (usize::MAX, false),
        };
        let ends = [client, &server].map(|stream| stream.try_clone().unwrap());
        self.open.lock().unwrap().extend(ends.iter().map(|stream| stream.try_clone().unwrap()));
        let copies = [
            (client.try_clone().unwrap(), server.try_clone().unwrap(), up_max),
            (server, client.try_clone().unwrap(), if is_answered { usize::MAX } else { 0 }),
        ];
        for (from, to, bytes_max) in copies {
            let (ends, broken) =
                (ends.each_ref().map(|stream| stream.try_clone().unwrap()), self.broken.clone());
            std::thread::spawn(move || {
                if !copy(from, to, bytes_max) {
                    broken.fetch_add(1, Ordering::Relaxed);
                }
                ends.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
            });
        }
    }
}

/// Whether it went on to the end.
fn copy(mut from: TcpStream, mut to: TcpStream, bytes_max: usize) -> bool {
    let (mut buffer, mut copied) = ([0; 4096], 0);
    loop {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return true,
            Ok(_) if copied >= bytes_max => return false,
            Ok(read) => {
                copied += read;
                if to.write_all(&buffer[..read]).is_err() {
                    return true;
                }
            }
        }
    }
}
