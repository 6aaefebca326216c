//! One listening address: bound once, accepted on every core, its TLS swapped at reload.

use super::settings::ListenerSettings;
use super::tls::{Tls, TlsFault};
use crate::sources::certificate::{Ending, Trust};
use arc_swap::{ArcSwap, ArcSwapOption};
use ipnet::IpNet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;

/// A listener as the connections on it see it.
#[derive(Debug)]
pub struct Listener {
    pub name: Arc<str>,
    pub settings: ArcSwap<ListenerSettings>,
    pub config: ArcSwap<rustls::ServerConfig>,
    /// Who may vouch for clients; none when certificates are not asked for.
    pub trust: Arc<ArcSwapOption<Trust>>,
    /// When each certificate of its own ends.
    pub ends: ArcSwap<Vec<Ending>>,
}

impl Listener {
    pub fn load(settings: ListenerSettings) -> Result<Self, TlsFault> {
        let Tls { config, trust, ends } = Tls::load(&settings, None)?;
        Ok(Self {
            name: settings.name.as_str().into(),
            settings: ArcSwap::from_pointee(settings),
            config: ArcSwap::new(config),
            trust: Arc::new(ArcSwapOption::new(trust)),
            ends: ArcSwap::from_pointee(ends),
        })
    }

    /// Reads certificates, authorities and revocation lists again; true when clients are trusted otherwise than before.
    /// On a fault the old ones stay.
    pub fn reload(&self) -> Result<bool, TlsFault> {
        let before = self.trust.load_full();
        let tls = self.renewed(&self.settings.load())?;
        let differs = before.map(|trust| trust.generation()) != tls.trust.as_ref().map(|trust| trust.generation());
        self.put_in_force(tls);
        Ok(differs)
    }

    /// The TLS that these settings ask for.
    pub fn renewed(&self, settings: &ListenerSettings) -> Result<Tls, TlsFault> {
        Tls::load(settings, self.trust.load().as_ref())
    }

    /// From now on connections are received as these settings say, with the TLS that was made of them.
    pub fn adopt(&self, settings: ListenerSettings, tls: Tls) {
        self.settings.store(Arc::new(settings));
        self.put_in_force(tls);
    }

    fn put_in_force(&self, Tls { config, trust, ends }: Tls) {
        self.config.store(config);
        self.trust.store(trust);
        self.ends.store(Arc::new(ends));
    }

    pub fn speaks_proxy_protocol(&self, peer: IpAddr) -> bool {
        contains(&self.settings.load().proxy_protocol_from, peer)
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// What is left of them once every address has its own: whoever connects there would wait for ever.
pub fn left(inherited: &[TcpListener]) -> Vec<SocketAddr> {
    inherited.iter().filter_map(|socket| socket.local_addr().ok()).collect()
}

/// Sockets passed by systemd (`LISTEN_FDS`), to be used instead of binding.
pub fn inherited() -> io::Result<Vec<TcpListener>> {
    let mut passed = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        if let Some(socket) = passed.take_tcp_listener(index)? {
            sockets.push(socket);
        }
    }
    Ok(sockets)
}

/// The inherited socket with this address, or a new one bound to it.
///
/// All cores accept from the one socket, so that whichever is free takes the next connection.
pub fn bind(address: SocketAddr, inherited: &mut Vec<TcpListener>) -> io::Result<TcpListener> {
    let wanted = |socket: &TcpListener| socket.local_addr().is_ok_and(|bound| bound == address);
    let socket = match inherited.iter().position(wanted) {
        Some(index) => inherited.swap_remove(index),
        None => {
            let domain = socket2::Domain::for_address(address);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(4096)?;
            socket.into()
        }
    };
    socket.set_nonblocking(true)?;
    Ok(socket)
}
