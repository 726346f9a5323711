//! Listens on a TCP address, also where a host has no IPv6.
//!
//! It accepts nothing: that is the server's to do.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use rustix::io::Errno;
use tokio::net::TcpSocket;

/// Connections that may wait to be accepted: each is accepted as it comes.
const BACKLOG: u32 = 1024;

/// Listens on this address.
///
/// # Errors
/// The address is taken, or not ours to have.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bound(address).and_then(|socket| socket.listen(BACKLOG)?.into_std())
}

/// Whether [`listen`] could have this address now. It listens to nobody, so that two may look at
/// once.
///
/// # Errors
/// Those of [`listen`].
pub(crate) fn try_address(address: SocketAddr) -> io::Result<()> {
    bound(address).map(drop)
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    first_that_is_had(address, |address| {
        let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
        socket.set_reuseaddr(true)?; // or a restart would wait for the last one's connections
        socket.bind(address)?;
        Ok(socket)
    })
}

/// On a host without IPv6, all of its addresses (`[::]`) are those of IPv4.
fn first_that_is_had<T>(
    address: SocketAddr,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let is_without_ipv6 = |error: &io::Error| {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
    };
    match bind(address) {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
            bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        had => had,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_ipv6_is_listened_to_on_all_its_addresses() {
        for missing in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            let bind = |address: SocketAddr| {
                if address.is_ipv6() {
                    Err(io::Error::from(missing))
                } else {
                    Ok(address.to_string())
                }
            };
            let had = |address: &str| first_that_is_had(address.parse().expect("an address"), bind);
            assert_eq!(had("[::]:16464").expect("IPv4 is there"), "0.0.0.0:16464");
            assert!(
                had("[::1]:16464").is_err(),
                "one address that was asked for by name is no other"
            );
        }
        let in_use = |_| Err::<(), _>(io::Error::from(Errno::ADDRINUSE));
        assert!(first_that_is_had("[::]:1".parse().expect("an address"), in_use).is_err());
    }
}
