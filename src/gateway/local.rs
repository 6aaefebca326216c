//! The Unix socket: the same walk without TLS, for whoever administers on this very machine.
//!
//! The kernel says which user is at the other end (`SO_PEERCRED`), and that is all the evidence there is: no device, no
//! network, nothing timed. What such a user may do is for the policy to say, as for everybody.

use super::clock;
use super::connection::Connection;
use super::core::Core;
use super::drain::{Phase, Signal, reached};
use super::guard::GuardState;
use super::http1;
use super::local_file::Placed;
use super::settings::LocalSettings;
use crate::audit::ConnectionFault;
use crate::evidence::{Moment, Subject};
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};

/// The socket where it stands, and who its users are.
pub struct Local {
    name: Arc<str>,
    placed: Placed,
    settings: LocalSettings,
}

/// The issuer of subjects that the kernel names.
pub const ISSUER: &str = "unix";

impl Local {
    /// Puts the socket in its place.
    ///
    /// # Errors
    /// Something else is there, another gateway listens on it, or the directory cannot be written.
    pub fn open(settings: &LocalSettings) -> io::Result<Self> {
        Ok(Self {
            name: ISSUER.into(),
            placed: Placed::open(&settings.path, settings.mode)?,
            settings: settings.clone(),
        })
    }

    /// Accepts on this core until the gateway drains; then the socket is taken away.
    pub async fn accept(self, core: Arc<Core>, mut signal: Signal) {
        let opened =
            self.placed.listener().and_then(UnixListener::from_std).and_then(|socket| Ok((socket, own_uid()?)));
        let (socket, own) = match opened {
            Ok(opened) => opened,
            Err(error) => return tracing::error!(%error, "cannot accept on the Unix socket"),
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = reached(&mut signal, Phase::Draining) => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.admit(&core, stream, own, &signal),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept on the Unix socket");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(&self, core: &Arc<Core>, stream: UnixStream, own: u32, signal: &Signal) {
        let worker = core.worker();
        let refuse = |fault| worker.refuse(&self.name, Ipv4Addr::UNSPECIFIED.into(), None, fault);
        // The credentials are this socket's handshake.
        let Ok(peer) = stream.peer_cred() else { return refuse(ConnectionFault::Handshake) };
        let Ok(slot) = worker.shared.admission.admit(None) else { return refuse(ConnectionFault::ConnectionLimit) };
        let now = clock::now();
        let guard = Arc::<GuardState>::default();
        let subject = Arc::new(self.subject(peer.uid(), peer.uid() == 0 || peer.uid() == own));
        let connection =
            Arc::new(Connection::local(&self.name, &worker.shared.sources, subject, Arc::clone(&guard), now));
        let stream = Counted { stream, _slot: slot };
        tokio::spawn(http1::serve(Arc::clone(core), connection, guard, stream, signal.clone()));
    }

    /// The subject the kernel vouches for. It says who owns a process, not when a person last proved anything.
    fn subject(&self, uid: u32, owner: bool) -> Subject {
        let person = self.settings.people.iter().find(|(known, _)| *known == uid);
        let user = person.map_or_else(|| format!("uid:{uid}").into(), |(_, user)| Arc::clone(user));
        Subject {
            issuer: ISSUER.into(),
            id: format!("uid:{uid}").into(),
            user,
            groups: if owner { vec!["owner".into()] } else { Vec::new() },
            assurance: Vec::new(),
            acr: None,
            amr: Vec::new(),
            authenticated: None,
            expires: NEVER,
            bound_to: None,
        }
    }
}

/// The end of the year 9999: what the kernel says of a peer holds as long as the connection.
const NEVER: Moment = Moment(253_402_300_799_000);

/// The user this process acts as, by the way the peers' users are learnt.
fn own_uid() -> io::Result<u32> {
    Ok(UnixStream::pair()?.0.peer_cred()?.uid())
}

/// Counted for as long as there is a descriptor.
struct Counted {
    stream: UnixStream,
    _slot: super::admission::Slot,
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
