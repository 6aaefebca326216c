//! Peers below a gateway, each this program itself in a process of its own: what the libraries cost, and what the kernel
//! costs.

use crate::fixture::Fixture;
use crate::nginx::Server;
use crate::{floor, relay};
use clap::{Args, Subcommand};
use rangegate_benches::Result;
use rangegate_benches::process::{Process, free_address};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::Command;
use std::{io, ptr};
use tokio::net::TcpListener;

#[derive(Debug, Subcommand)]
pub enum Rung {
    #[command(hide = true)]
    Relay(Place),
    #[command(hide = true)]
    Floor(Place),
}

#[derive(Debug, Args)]
pub struct Place {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    upstream: SocketAddr,
    /// Where the certificates are.
    #[arg(long)]
    directory: PathBuf,
}

impl Rung {
    /// Serves until the process is stopped.
    pub fn run(&self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match self {
                Self::Relay(place) => relay::serve(TcpListener::bind(place.listen).await?, place.upstream).await,
                Self::Floor(place) => {
                    let tls = floor::tls(&place.directory)?;
                    floor::serve(TcpListener::bind(place.listen).await?, tls, place.upstream).await
                }
            }
        })
    }
}

/// `name` is the subcommand.
pub async fn start(name: &str, fixture: &Fixture, upstream: SocketAddr) -> Result<Server> {
    let address = free_address()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(name).arg("--listen").arg(address.to_string()).arg("--upstream").arg(upstream.to_string());
    command.arg("--directory").arg(&fixture.directory);
    let process = Process::start(name, command, &fixture.directory, address).await?;
    Ok(Server { process, address })
}

/// The kernel's smoothed round trip to the peer, microseconds: the question every gateway here asks at each request.
pub fn round_trip(socket: &impl AsFd) -> io::Result<u32> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes, which is the size of `info`.
    let answer = unsafe {
        let into = ptr::from_mut(&mut info).cast();
        libc::getsockopt(socket, libc::IPPROTO_TCP, libc::TCP_INFO, into, &raw mut length)
    };
    match answer {
        // SAFETY: it holds integers only, which were zero before the kernel wrote.
        0 => Ok(unsafe { info.assume_init() }.tcpi_rtt),
        _ => Err(io::Error::last_os_error()),
    }
}
