//! The kernel's own measurement of the round trip to the TCP peer (`TCP_INFO`).
//!
//! `tcpi_rtt` right after `accept` is the sample of the SYN-ACK, which no peer delays; later it is a smoothed value that
//! contains delayed acknowledgements. `tcpi_min_rtt` (since Linux 4.6) is the kernel's windowed minimum.
//!
//! Elsewhere than on Linux there is no measurement: macOS offers whole milliseconds and no minimum, too coarse to
//! prove a place false.

use crate::evidence::timing::TcpTiming;
use crate::evidence::{Fact, Fault};
use crate::latency::Rtt;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// One reading of `TCP_INFO`. What the kernel does not know, or is too old to tell, is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSample {
    pub smoothed: Option<Rtt>,
    pub variation: Option<Rtt>,
    pub minimum: Option<Rtt>,
}

/// Reads the socket once: one `getsockopt`, about half a microsecond. None: not a TCP socket, or no such option here.
pub fn read(socket: impl AsFd) -> Option<TcpSample> {
    kernel::read(socket.as_fd())
}

/// How many bytes of the connection the peer has acknowledged: one `getsockopt`. None: nobody knows here.
pub fn acknowledged(socket: impl AsFd) -> Option<u64> {
    kernel::acknowledged(socket.as_fd())
}

/// The round trips of one connection to its TCP peer: the first sample, and the least seen so far.
#[derive(Debug)]
pub struct TcpSamples {
    /// Microseconds; `UNKNOWN` until the kernel had one.
    first: AtomicU32,
    minimum: AtomicU32,
    behind_forwarder: bool,
}

const UNKNOWN: u32 = u32::MAX;

impl TcpSamples {
    /// Takes the first sample: call it right after `accept`, before a byte is read.
    ///
    /// `behind_forwarder`: the peer is a balancer or forwarder, whose round trip says nothing of the client. Nothing is
    /// measured then. Where that is known only later (a PROXY protocol header follows), begin again with `forwarded`.
    pub fn accepted(socket: impl AsFd, behind_forwarder: bool) -> Self {
        let samples = Self { first: UNKNOWN.into(), minimum: UNKNOWN.into(), behind_forwarder };
        if !behind_forwarder && let Some(rtt) = read(socket).and_then(|sample| sample.smoothed) {
            samples.first.store(rtt.as_micros(), Relaxed);
            samples.minimum.store(rtt.as_micros(), Relaxed);
        }
        samples
    }

    /// The samples of a connection that a forwarder opened: there are none.
    pub fn forwarded() -> Self {
        Self { first: UNKNOWN.into(), minimum: UNKNOWN.into(), behind_forwarder: true }
    }

    /// Reads the socket once and folds the reading in: the fact of this connection at this request.
    pub fn measure(&self, socket: impl AsFd) -> Fact<TcpTiming> {
        if self.behind_forwarder {
            return Fact::Unavailable(Fault::BehindForwarder);
        }
        match read(socket) {
            Some(sample) => self.fold(sample),
            None => Fact::Unavailable(Fault::NoMeasurement),
        }
    }

    /// The kernel's own minimum, which it forgets after some minutes (`net.ipv4.tcp_min_rtt_wlen`).
    pub fn recent(&self, socket: impl AsFd) -> Option<Rtt> {
        if self.behind_forwarder {
            return None;
        }
        read(socket)?.minimum
    }

    fn fold(&self, sample: TcpSample) -> Fact<TcpTiming> {
        if let Some(minimum) = sample.minimum {
            self.minimum.fetch_min(minimum.as_micros(), Relaxed);
            // No SYN-ACK sample (it was sent twice, or the kernel answered by SYN cookie): the first minimum stands in.
            let _ = self.first.compare_exchange(UNKNOWN, minimum.as_micros(), Relaxed, Relaxed);
        }
        let (first, minimum) = (self.first.load(Relaxed), self.minimum.load(Relaxed));
        let (Some(smoothed), Some(variation)) = (sample.smoothed, sample.variation) else {
            return Fact::Unavailable(Fault::NoMeasurement);
        };
        if first == UNKNOWN || minimum == UNKNOWN {
            return Fact::Unavailable(Fault::NoMeasurement);
        }
        Fact::Known(TcpTiming {
            first: Rtt::from_micros(first),
            minimum: Rtt::from_micros(minimum),
            smoothed,
            variation,
        })
    }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "no crate reads TCP_INFO safely on kernels whose struct is shorter than libc's")]
mod kernel {
    use super::{Rtt, TcpSample};
    use std::mem::{MaybeUninit, offset_of};
    use std::os::fd::{AsRawFd, BorrowedFd};

    pub fn read(socket: BorrowedFd<'_>) -> Option<TcpSample> {
        tcp_info(socket).map(|(info, length)| believed(&info, length))
    }

    pub fn acknowledged(socket: BorrowedFd<'_>) -> Option<u64> {
        let (info, length) = tcp_info(socket)?;
        // Since Linux 4.1.
        let written = offset_of!(libc::tcp_info, tcpi_bytes_acked) + size_of::<u64>() <= length;
        written.then_some(info.tcpi_bytes_acked)
    }

    /// An older kernel fills less of the struct: a field counts only when it lies wholly within what was written.
    pub(super) fn believed(info: &libc::tcp_info, length: usize) -> TcpSample {
        let written =
            |offset: usize, micros: u32| (offset + size_of::<u32>() <= length).then_some(micros).map(Rtt::from_micros);
        // Zero and the largest number are how the kernel says that it has no round trip yet.
        let real = |rtt: &Rtt| !matches!(rtt.as_micros(), 0 | u32::MAX);
        TcpSample {
            smoothed: written(offset_of!(libc::tcp_info, tcpi_rtt), info.tcpi_rtt).filter(real),
            // On a quiet path the variation may well round down to zero.
            variation: written(offset_of!(libc::tcp_info, tcpi_rttvar), info.tcpi_rttvar),
            minimum: written(offset_of!(libc::tcp_info, tcpi_min_rtt), info.tcpi_min_rtt).filter(real),
        }
    }

    /// The struct, zero where the kernel wrote nothing, and how many bytes it wrote.
    pub(super) fn tcp_info(socket: BorrowedFd<'_>) -> Option<(libc::tcp_info, usize)> {
        let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
        let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
        // SAFETY: the descriptor is open while it is borrowed, the kernel writes at most `length` bytes into `info`, and
        // `tcp_info` holds integers only, so that zeroed and partly written it is a valid value.
        unsafe {
            let into = info.as_mut_ptr().cast();
            let answer = libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, into, &raw mut length);
            (answer == 0).then(|| (info.assume_init(), length as usize))
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    pub fn read(_socket: std::os::fd::BorrowedFd<'_>) -> Option<super::TcpSample> {
        None
    }

    pub fn acknowledged(_socket: std::os::fd::BorrowedFd<'_>) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn sample(smoothed: u32, minimum: Option<u32>) -> TcpSample {
        TcpSample {
            smoothed: Some(Rtt::from_micros(smoothed)),
            variation: Some(Rtt::from_micros(smoothed / 2)),
            minimum: minimum.map(Rtt::from_micros),
        }
    }

    fn unmeasured() -> TcpSamples {
        TcpSamples { first: UNKNOWN.into(), minimum: UNKNOWN.into(), behind_forwarder: false }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn loopback_has_a_round_trip_from_the_first_moment() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let samples = TcpSamples::accepted(&server, false);
        client.write_all(b"ping").unwrap();
        server.read_exact(&mut [0; 4]).unwrap();
        let before = acknowledged(&server).unwrap();
        server.write_all(b"pong").unwrap();
        client.read_exact(&mut [0; 4]).unwrap();
        client.write_all(b"thanks").unwrap();
        server.read_exact(&mut [0; 6]).unwrap();
        assert_eq!(acknowledged(&server), Some(before + 4));

        let Fact::Known(timing) = samples.measure(&server) else { panic!("no measurement on loopback") };
        assert!(timing.minimum <= timing.first);
        assert!(timing.minimum.as_micros() > 0 && timing.first < Rtt::from_millis(1_000));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_older_kernel_is_not_asked_for_what_it_never_wrote() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let (mut info, length) = kernel::tcp_info(server.as_fd()).unwrap();
        info.tcpi_min_rtt = 1_234;
        assert_eq!(kernel::believed(&info, length).minimum, Some(Rtt::from_micros(1_234)));
        // Linux 2.6 to 4.5 end before the minimum
        let old = std::mem::offset_of!(libc::tcp_info, tcpi_min_rtt);
        assert_eq!(kernel::believed(&info, old + 3).minimum, None);
        assert!(kernel::believed(&info, old).smoothed.is_some());
        assert_eq!(kernel::believed(&info, 0), TcpSample { smoothed: None, variation: None, minimum: None });
        // no round trip yet, but on a quiet path the variation is really zero
        (info.tcpi_min_rtt, info.tcpi_rtt, info.tcpi_rttvar) = (u32::MAX, 0, 0);
        let nothing = TcpSample { smoothed: None, variation: Some(Rtt::from_micros(0)), minimum: None };
        assert_eq!(kernel::believed(&info, length), nothing);
    }

    #[test]
    fn a_socket_without_tcp_has_no_measurement() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(read(&udp), None);
        let samples = TcpSamples::accepted(&udp, false);
        assert_eq!(samples.measure(&udp), Fact::Unavailable(Fault::NoMeasurement));
    }

    #[test]
    fn behind_a_forwarder_nothing_is_said_of_the_client() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let samples = TcpSamples::accepted(&server, true);
        assert_eq!(samples.measure(&server), Fact::Unavailable(Fault::BehindForwarder));
        assert_eq!(TcpSamples::forwarded().measure(&server), Fact::Unavailable(Fault::BehindForwarder));
    }

    #[test]
    fn the_least_is_kept_though_the_kernel_window_forgets_it() {
        let samples = unmeasured();
        let minimum = |fact: Fact<TcpTiming>| fact.known().map(|timing| timing.minimum);
        assert_eq!(minimum(samples.fold(sample(60_000, Some(50_000)))), Some(Rtt::from_millis(50)));
        assert_eq!(minimum(samples.fold(sample(60_000, Some(40_000)))), Some(Rtt::from_millis(40)));
        assert_eq!(minimum(samples.fold(sample(90_000, Some(80_000)))), Some(Rtt::from_millis(40)));
        let Fact::Known(timing) = samples.fold(sample(90_000, None)) else { panic!("the minimum is known") };
        assert_eq!((timing.first, timing.smoothed), (Rtt::from_millis(50), Rtt::from_millis(90)));
    }

    #[test]
    fn no_minimum_yet_is_no_measurement_and_never_zero() {
        let samples = unmeasured();
        assert_eq!(samples.fold(sample(60_000, None)), Fact::Unavailable(Fault::NoMeasurement));
        let nothing = TcpSample { smoothed: None, variation: None, minimum: None };
        assert_eq!(samples.fold(nothing), Fact::Unavailable(Fault::NoMeasurement));
    }
}
