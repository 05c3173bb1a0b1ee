//! PROXY protocol headers between Ringlane and HAProxy, NGINX and curl, in both directions.
#![forbid(unsafe_code)]

use crate::site::{Balanced, Daemon, Site, configured, free_port, run, wait_for_port};

/// Where clients come from, so that no other address can be taken for theirs.
const CLIENT: &str = "127.0.0.5";

/// A listener whose clients all send a header.
const ACCEPTS: &str = r#""accept_proxy_protocol": { "from": ["127.0.0.0/8"] }"#;

/// A listener whose clients send none.
const PLAIN: &str = r#""mode": "tcp""#;

/// What endpoints get: each version, and all fields that there are.
const SENDS: [&str; 3] = [
    r#""send_proxy_protocol": "v1""#,
    r#""send_proxy_protocol": "v2""#,
    r#""send_proxy_protocol": { "checksum": true, "unique_id": true, "authority": "a.example",
        "custom": [{ "type": 224, "value": "x" }], "pass_on": true }"#,
];

/// An NGINX whose clients send headers and which answers with the address in it.
pub(crate) fn telling_nginx(site: &Site, port: u16) -> Daemon {
    let folder = site.folder().display();
    let config = format!(
        "daemon off; pid {folder}/nginx.pid; error_log stderr; user root; worker_processes 1;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p;\n\
         fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;\n\
         server {{ listen 127.0.0.1:{port} proxy_protocol;\n\
         location / {{ return 200 $proxy_protocol_addr; }} }} }}\n"
    );
    let path = site.write("nginx.conf", config.as_bytes());
    let words = ["-p", &folder.to_string(), "-c", &path.display().to_string()];
    let daemon = Daemon::start("nginx", &words, site.folder());
    wait_for_port(port);
    daemon
}

/// An HAProxy with one proxy of this text.
fn haproxy(site: &Site, text: &str, port: u16) -> Daemon {
    let config = format!(
        "defaults\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n{text}\n"
    );
    let path = site.write("haproxy.cfg", config.as_bytes());
    let words = ["-db", "-f", &path.display().to_string()];
    let daemon = Daemon::start("haproxy", &words, site.folder());
    wait_for_port(port);
    daemon
}

/// An HAProxy that answers with the address in the header.
pub(crate) fn telling_haproxy(site: &Site, port: u16) -> Daemon {
    let text = format!(
        "frontend f\n mode http\n bind 127.0.0.1:{port} accept-proxy\n \
         http-request return status 200 content-type text/plain lf-string %[src]"
    );
    haproxy(site, &text, port)
}

/// What is answered on a port to a client of [`CLIENT`].
fn asked(port: u16, more: &[&str]) -> String {
    let url = format!("http://127.0.0.1:{port}/");
    let words = ["-sS", "--fail", "--interface", CLIENT, &url];
    run("curl", &[&words[..], more].concat())
}

fn check(balancer: &Balanced) {
    for _ in 0..10 {
        assert_eq!(asked(balancer.port, &[]), CLIENT);
    }
}

#[test]
fn nginx_and_haproxy_understand_what_they_get() {
    let site = Site::new("proxy-out");
    let [nginx, haproxy] = [free_port(), free_port()];
    let _nginx = telling_nginx(&site, nginx);
    let _haproxy = telling_haproxy(&site, haproxy);
    for sends in SENDS {
        for port in [nginx, haproxy] {
            check(&configured(&site, PLAIN, sends, port));
        }
    }
}

#[test]
fn curl_s_header_is_understood() {
    let site = Site::new("proxy-curl");
    let nginx = free_port();
    let _nginx = telling_nginx(&site, nginx);
    for sends in SENDS {
        let balancer = configured(&site, ACCEPTS, sends, nginx);
        assert_eq!(asked(balancer.port, &["--haproxy-protocol"]), CLIENT);
    }
}

#[test]
fn haproxy_s_headers_are_understood() {
    let site = Site::new("proxy-haproxy");
    let nginx = free_port();
    let _nginx = telling_nginx(&site, nginx);
    for sends in SENDS {
        let balancer = configured(&site, ACCEPTS, sends, nginx);
        for options in [
            "send-proxy",
            "send-proxy-v2",
            "send-proxy-v2 proxy-v2-options crc32c,unique-id",
        ] {
            let port = free_port();
            let text = format!(
                "listen l\n mode tcp\n bind 127.0.0.1:{port}\n unique-id-format %[uuid]\n \
                 server s 127.0.0.1:{} {options}",
                balancer.port
            );
            let _haproxy = haproxy(&site, &text, port);
            assert_eq!(asked(port, &[]), CLIENT, "{options}");
        }
    }
}

#[test]
fn nginx_s_header_is_understood() {
    let site = Site::new("proxy-nginx");
    let nginx = free_port();
    let _nginx = telling_nginx(&site, nginx);
    let balancer = configured(&site, ACCEPTS, SENDS[2], nginx);
    let port = free_port();
    let folder = site.folder().display();
    let config = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off; pid {folder}/stream.pid; error_log stderr; user root; worker_processes 1;\n\
         events {{ worker_connections 1024; }}\n\
         stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{};\n\
         proxy_protocol on; }} }}\n",
        balancer.port
    );
    let path = site.write("stream.conf", config.as_bytes());
    let words = ["-p", &folder.to_string(), "-c", &path.display().to_string()];
    let _stream = Daemon::start("nginx", &words, site.folder());
    wait_for_port(port);
    assert_eq!(asked(port, &[]), CLIENT);
}
