//! nginx of the distribution as the peer, and a second one as the upstream of both.

use crate::fixture::{BODY, Fixture};
use rangegate_benches::Result;
use rangegate_benches::process::{Process, free_address};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// A gateway or an upstream that runs.
#[derive(Debug)]
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
}

/// `nginx/1.22.1, OpenSSL 3.0.19`.
pub fn version() -> Result<String> {
    let output = Command::new("nginx").arg("-V").output();
    let output =
        output.map_err(|why| format!("`nginx` does not run: {why}; `apt-get install nginx-light` brings it"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let after = |key: &str| text.split_once(key).map(|(_, rest)| rest);
    let name = after("nginx version: ").and_then(|rest| rest.lines().next()).unwrap_or("nginx");
    let word = |key: &str| after(key).and_then(|rest| rest.split([' ', ')', '\n']).next());
    let tls = word("running with OpenSSL ").or_else(|| word("built with OpenSSL ")).unwrap_or("unknown");
    Ok(format!("{name}, OpenSSL {tls}"))
}

/// Answers from memory: a KiB, what it saw of the gateway's headers, and a key set.
pub async fn upstream(fixture: &Fixture) -> Result<Server> {
    let address = free_address()?;
    let keys = &fixture.signer.keys;
    let body = "0123456789abcdef".repeat(BODY / 16);
    let http = format!(
        r#"
    access_log off;
    server {{
        listen {address};
        keepalive_requests 1000000000;
        default_type text/plain;
        location = /kib {{ return 200 "{body}"; }}
        location = /seen {{ return 200 "$http_x_device$http_rangegate_assertion"; }}
        location = /keys {{ default_type application/json; return 200 '{keys}'; }}
    }}"#
    );
    start("upstream", &fixture.directory, &http, address).await
}

/// The same work as the gateway's, as far as nginx has it: TLS 1.3 with a client certificate of our authority, checked
/// against its revocation list; devices by fingerprint; countries by network; identity headers; a buffered log with
/// the TCP round trip; kept connections to the upstream. Nothing beyond that: every `$tcpinfo_rtt` is a system call, and
/// a subject's name or a request id in the headers would be nginx's own expense.
pub async fn gateway(name: &str, fixture: &Fixture, upstream: SocketAddr) -> Result<Server> {
    let address = free_address()?;
    let path = |file: &str| fixture.path(file).display().to_string();
    let mut networks = String::new();
    for (network, country) in &fixture.networks {
        let _ = writeln!(networks, "        {network} {country};");
    }
    let mut devices = format!("        {} ann-laptop;\n", fixture.ann.device.sha1());
    for (number, (sha1, _)) in fixture.others.iter().enumerate() {
        let _ = writeln!(devices, "        {sha1} device-{number};");
    }
    let http = format!(
        r#"
    map_hash_bucket_size 128;
    map_hash_max_size 4096;
    geo $country {{
        default ZZ;
{networks}    }}
    map $ssl_client_fingerprint $device {{
        default "";
{devices}    }}
    map $country $foreign {{
        default 1;
        AT 0; BE 0; CH 0; DE 0; FR 0;
    }}
    log_format gate '$msec $remote_addr $device $country "$request" $status $body_bytes_sent $request_time '
                    '$upstream_response_time $tcpinfo_rtt';
    access_log {log} gate buffer=64k flush=1s;
    upstream service {{
        server {upstream};
        keepalive 512;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address} ssl http2;
        server_name _;
        ssl_protocols TLSv1.3;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_client_certificate {authority};
        ssl_crl {revocations};
        ssl_verify_client on;
        ssl_session_cache off;
        ssl_session_tickets off;
        keepalive_requests 1000000000;
        if ($device = "") {{ return 403; }}
        if ($foreign) {{ return 403; }}
        location / {{
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Device $device;
            proxy_set_header X-Device-Fingerprint $ssl_client_fingerprint;
            proxy_set_header X-Country $country;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
        }}
    }}"#,
        log = path(&format!("{name}.log")),
        chain = path("server.pem"),
        key = path("server.key"),
        authority = path("ca.pem"),
        revocations = path("ca.crl"),
    );
    start(name, &fixture.directory, &http, address).await
}

/// One worker, because everything shares one CPU.
async fn start(name: &str, directory: &Path, http: &str, address: SocketAddr) -> Result<Server> {
    let here = directory.join(name);
    fs::create_dir(&here)?;
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {}/{kind};\n", here.display()))
        .concat();
    let text = format!(
        "daemon off;\nworker_processes 1;\npid {here}/pid;\nerror_log stderr error;\nevents {{ worker_connections 4096; }}\n\
         http {{\n{temporary}{http}\n}}\n",
        here = here.display(),
    );
    let file = here.join("nginx.conf");
    fs::write(&file, text)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&here).arg("-e").arg("stderr").arg("-c").arg(&file);
    let process = Process::start(name, command, directory, address).await?;
    Ok(Server { process, address })
}
