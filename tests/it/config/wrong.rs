//! Wrong configurations and exactly what is said about them.
#![forbid(unsafe_code)]

/// Whole texts.
pub(super) const WHOLE: &[(&str, &[&str])] = &[
    (
        "",
        &["1:1: the file is empty; expected an object, `{ ... }`"],
    ),
    (
        "// nothing\n",
        &["1:1: the file is empty; expected an object, `{ ... }`"],
    ),
    ("[]", &["1:1: expected an object, `{ ... }`, found a list"]),
    (
        r#""text""#,
        &[r#"1:1: expected an object, `{ ... }`, found the string "text""#],
    ),
    ("null", &["1:1: expected an object, `{ ... }`, found null"]),
    ("{", &["1:1: this `{` is never closed"]),
    (r#"{"log": {"#, &["1:9: this `{` is never closed"]),
    (r#"{"listeners": ["#, &["1:15: this `[` is never closed"]),
    (r#"{"log": "info"#, &["1:9: this string is never closed"]),
    ("/* open", &["1:1: this comment is never closed"]),
    (
        "{'log': {}}",
        &["1:2: expected double quotes, not single ones"],
    ),
    ("{log: {}}", &["1:2: expected a key in double quotes"]),
    (r#"{"log" {}}"#, &["1:8: expected `:` after the key"]),
    (r#"{"log": }"#, &["1:9: `}` closes nothing here"]),
    (
        r#"{"log": {}, "log": {}}"#,
        &["1:13: `log` is given twice (first at a:1:2)"],
    ),
    (
        r#"{"log": {} "limits": {}}"#,
        &["1:11: expected `,` after the value"],
    ),
    (
        r#"{"log": {},, }"#,
        &["1:12: expected a key in double quotes, or `}`"],
    ),
    (
        "{} {}",
        &["1:4: expected nothing after the end of the object"],
    ),
    (
        r#"{"log": {"level": info}}"#,
        &["1:19: expected a value; strings need double quotes"],
    ),
    (
        r#"{"log": {"level": "a\qb"}}"#,
        &[
            r#"1:21: this is no escape; a backslash in a string is followed by ", \, /, b, f, n, r, t or four hexadecimal digits after u"#,
        ],
    ),
    (
        r#"{"limits": {"max_sessions": 0x10}}"#,
        &["1:29: expected a decimal number"],
    ),
    (
        r#"{"limits": {"max_sessions": +1}}"#,
        &["1:29: expected a number without `+`"],
    ),
    (
        r#"{"limits": {"max_sessions": 1.}}"#,
        &["1:29: this is no number"],
    ),
    (r#"{"limits": ]}"#, &["1:12: `]` closes nothing here"]),
    (
        "{}",
        &[
            "1:1: there must be at least one listener",
            "1:1: there must be at least one cluster",
        ],
    ),
    (
        r#"{"listeners": [], "clusters": []}"#,
        &[
            "1:15: there must be at least one listener",
            "1:31: there must be at least one cluster",
        ],
    ),
    (
        r#"{"listeners": {}, "clusters": "c"}"#,
        &[
            "1:15: expected a list of listeners, `[ { ... } ]`, found an object",
            r#"1:31: expected a list of clusters, `[ { ... } ]`, found the string "c""#,
        ],
    ),
    (
        r#"{"frontends": [], "backends": []}"#,
        &[
            "1:2: unknown key `frontends`; did you mean `listeners`?",
            "1:19: unknown key `backends`; did you mean `clusters`?",
        ],
    ),
    (
        r#"{"lisen": 1, "maxconn": 5, "global": {}, "admin": {}, "ssl": {}, "foo": 1}"#,
        &[
            "1:2: unknown key `lisen`; did you mean `listeners`?",
            "1:14: unknown key `maxconn`; did you mean `limits.max_sessions`?",
            "1:28: unknown key `global`; did you mean `process`?",
            "1:51: the key `bind` is missing",
            "1:55: unknown key `ssl`; `tls` is not available in this version",
            "1:66: unknown key `foo`; expected workers, limits, process, listeners, clusters, log, admin, dns",
        ],
    ),
    (
        r#"{"log": null}"#,
        &["1:9: null stands for nothing; leave the key out"],
    ),
    (
        "{\"log\": \"a\tb\"}",
        &[
            r#"1:9: this string has a control character; write \n, \t or \u00XX for it, or close the string on its line"#,
        ],
    ),
];

/// Keys beside a good listener and a good cluster; they stand on line 2.
pub(super) const ROOT: &[(&str, &[&str])] = &[
    (
        r#""workers": 4"#,
        &["2:12: expected an object, `{ ... }`, found the number 4"],
    ),
    (
        r#""workers": {"count": "many"}"#,
        &[r#"2:22: expected "auto" or a number of workers, found the string "many""#],
    ),
    (
        r#""workers": {"count": 0}"#,
        &["2:22: expected a whole number from 1 to 1024, found the number 0"],
    ),
    (
        r#""workers": {"count": 1.5, "cpus": "5-1", "wait": "spinn", "pipes": 300}"#,
        &[
            "2:22: expected a whole number from 1 to 1024, found the number 1.5",
            "2:35: `5-1` is a range that ends before it starts",
            r#"2:50: expected one of "block", "batch", "spin", found the string "spinn"; did you mean "spin"?"#,
            "2:68: expected a whole number from 0 to 256, found the number 300",
        ],
    ),
    (
        r#""workers": {"cpus": [0, 1], "threads": 4}"#,
        &[
            r#"2:21: expected a list of CPUs in quotes, such as "0-3,6", found a list"#,
            "2:29: unknown key `threads`; did you mean `count`?",
        ],
    ),
    (
        r#""limits": {"max_sessions": "100"}"#,
        &[r#"2:28: expected a whole number from 1 to 4194304, found the string "100""#],
    ),
    (
        r#""limits": {"maxconn": 100, "max_sessions": 5000000}"#,
        &[
            "2:12: unknown key `maxconn`; did you mean `max_sessions`?",
            "2:44: expected a whole number from 1 to 4194304, found the number 5000000",
        ],
    ),
    (
        r#""process": {"user": "", "pid_file": "run/a.pid", "drain_timeout": 30}"#,
        &[
            "2:21: a name must not be empty",
            r#"2:37: expected an absolute path, such as "/run/ringlane.pid", found the string "run/a.pid""#,
            r#"2:67: expected a time with a unit, found the number 30; write "30s" for seconds, "30ms" for milliseconds"#,
        ],
    ),
    (
        r#""process": {"group": "nogroup"}"#,
        &["2:22: a group needs a user beside it"],
    ),
    (
        r#""process": {"drain_timeout": "60 days", "hard_stop_after": "1s"}"#,
        &[
            "2:30: it must be at most 45 days",
            "2:41: unknown key `hard_stop_after`; did you mean `drain_timeout`?",
        ],
    ),
    (
        r#""log": {"level": "warning", "format": "JSON", "to": "syslog:dev/log"}"#,
        &[
            r#"2:18: expected one of "error", "warn", "info", "debug", "trace", found the string "warning"; did you mean "warn"?"#,
            r#"2:39: expected one of "text", "json", found the string "JSON"; did you mean "json"?"#,
            r#"2:53: expected "stderr", "syslog" or "syslog:/PATH", found the string "syslog:dev/log""#,
        ],
    ),
    (
        r#""log": {"access": {}}"#,
        &["2:19: the key `to` is missing"],
    ),
    (
        r#""log": {"access": {"to": "stderr", "interval": "0s"}}"#,
        &[r#"2:26: expected "stdout", "/PATH" or "unixgram:/PATH", found the string "stderr""#],
    ),
    (
        r#""log": {"access": {"to": "/a", "interval": "0s"}}"#,
        &["2:44: it must be more than 0 and at most 45 days"],
    ),
    (
        r#""log": {"access": true, "file": "/a"}"#,
        &[
            "2:19: expected an object, `{ ... }`, found true",
            "2:25: unknown key `file`; did you mean `to`?",
        ],
    ),
    (
        r#""log": {"level": "info", "level": "debug"}"#,
        &["2:26: `level` is given twice (first at a:2:9)"],
    ),
];

/// Keys of the only listener, on line 2.
pub(super) const LISTENER: &[(&str, &[&str])] = &[
    (r#""name": "web""#, &["1:67: the key `bind` is missing"]),
    (
        r#""bind": []"#,
        &["2:9: there must be at least one address"],
    ),
    (
        r#""bind": 80"#,
        &[
            r#"2:9: expected ADDRESS:PORT in quotes, such as "0.0.0.0:8080", or a list of them, found the number 80"#,
        ],
    ),
    (
        r#""bind": ":80""#,
        &["2:9: write 0.0.0.0:80 for every IPv4 address, [::]:80 for IPv6"],
    ),
    (
        r#""bind": ["127.0.0.1:1", "127.0.0.1", "unix:a"]"#,
        &[
            "2:25: expected ADDRESS:PORT, such as 127.0.0.1:8080 or [::]:8080, or unix:/PATH",
            "2:38: `a` must be an absolute path of at most 107 bytes",
        ],
    ),
    (
        r#""bind": ["127.0.0.1:1", "0.0.0.0:1"]"#,
        &["2:25: 0.0.0.0:1 and 127.0.0.1:1 are both port 1: bind it once (first at a:2:10)"],
    ),
    (
        r#""bind": "127.0.0.1:1", "port": 80, "maxconn": 7, "accept-proxy": true, "default_backend": "c""#,
        &[
            "2:24: unknown key `port`; did you mean `bind`?",
            "2:36: unknown key `maxconn`; did you mean `max_sessions`?",
            "2:50: unknown key `accept-proxy`; did you mean `accept_proxy_protocol`?",
            "2:72: unknown key `default_backend`; did you mean `cluster`?",
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "mode": "http""#,
        &[r#"2:32: the mode "http" is not available in this version, only "tcp""#],
    ),
    (
        r#""bind": "127.0.0.1:1", "mode": "tpc""#,
        &[r#"2:32: expected "tcp", found the string "tpc"; did you mean "tcp"?"#],
    ),
    (
        r#""bind": "127.0.0.1:1", "cluster": "d""#,
        &["2:35: there is no cluster `d`; there is `c`"],
    ),
    (
        r#""bind": "127.0.0.1:1", "cluster": ["c"]"#,
        &["2:35: expected the name of a cluster, found a list"],
    ),
    (
        r#""bind": "127.0.0.1:1", "name": """#,
        &["2:32: a name must not be empty"],
    ),
    (
        r#""bind": "127.0.0.1:1", "max_sessions": 0, "backlog": 70000, "fast_open": true"#,
        &[
            "2:40: expected a whole number from 1 to 4194304, found the number 0",
            "2:54: expected a whole number from 1 to 65535, found the number 70000",
            "2:74: expected a whole number from 1 to 65535, found true",
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "ipv6_only": "yes", "defer_accept": "1500ms""#,
        &[
            r#"2:37: expected true or false, found the string "yes""#,
            "2:60: it must be whole seconds, from 1s to 127s",
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "accept_proxy_protocol": true"#,
        &[r#"2:49: say who may send the header: { "from": ["10.0.0.0/8"] }"#],
    ),
    (
        r#""bind": "127.0.0.1:1", "accept_proxy_protocol": {}"#,
        &["2:49: the key `from` is missing"],
    ),
    (
        r#""bind": "127.0.0.1:1", "accept_proxy_protocol": {"from": []}"#,
        &["2:58: name at least one network that may send it"],
    ),
    (
        r#""bind": "127.0.0.1:1", "accept_proxy_protocol": {"from": ["10.0.0.0/33", "a"], "timeout": 3}"#,
        &[
            "2:59: `10.0.0.0/33` is no network; expected 10.0.0.0/8, fd00::/8 or unix",
            "2:74: `a` is no network; expected 10.0.0.0/8, fd00::/8 or unix",
            r#"2:91: expected a time with a unit, found the number 3; write "3s" for seconds, "3ms" for milliseconds"#,
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "accept_proxy_protocol": {"from": ["10.0.0.0/8"], "timeout": "0s"}"#,
        &["2:85: it must be more than 0 and at most 45 days"],
    ),
    (
        r#""bind": "127.0.0.1:1", "timeouts": {"idle": "5M", "half_close": "soon", "max_age": -1, "max_age_jitter": "1s"}"#,
        &[
            r#"2:45: expected a time with a unit, such as "250ms", "30s", "5m" or "1h", found the string "5M""#,
            r#"2:65: expected a time with a unit, such as "250ms", "30s", "5m" or "1h", found the string "soon""#,
            r#"2:84: expected a time with a unit, such as "250ms", "30s", "5m" or "1h", found the number -1"#,
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "timeouts": {"max_age_jitter": "1s"}"#,
        &["2:55: there is no max_age beside it"],
    ),
    (
        r#""bind": "127.0.0.1:1", "timeouts": {"max_age": "1s", "max_age_jitter": "2s", "timeout_client": "1s"}"#,
        &["2:78: unknown key `timeout_client`; did you mean `idle`?"],
    ),
    (
        r#""bind": "127.0.0.1:1", "timeouts": {"connect": "1s", "idle": "0s"}"#,
        &[
            "2:37: unknown key `connect`; did you mean `clusters[].timeouts.connect`?",
            "2:62: it must be more than 0 and at most 45 days",
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "timeout_client": "1s", "idle_timeout": 5, "proxy_connect_timeout": "1s""#,
        &[
            "2:24: unknown key `timeout_client`; did you mean `timeouts.idle`?",
            "2:48: unknown key `idle_timeout`; did you mean `timeouts.idle`?",
            "2:67: unknown key `proxy_connect_timeout`; did you mean `clusters[].timeouts.connect`?",
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "keepalive": true"#,
        &["2:37: expected false or an object, `{ ... }`, found true"],
    ),
    (
        r#""bind": "127.0.0.1:1", "keepalive": {"idle": "1500ms", "probes": 128, "intvl": "1s"}"#,
        &[
            "2:46: it must be whole seconds, from 1s to 32767s",
            "2:66: expected a whole number from 1 to 127, found the number 128",
            "2:71: unknown key `intvl`; did you mean `interval`?",
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "user_timeout": true, "interface": "a-name-that-is-too-long", "mark": "0x1""#,
        &[
            r#"2:40: expected a time with a unit, such as "250ms", "30s", "5m" or "1h", found true"#,
            "2:59: a name has 1 to 15 bytes",
            r#"2:94: expected a whole number from 0 to 4294967295, found the string "0x1""#,
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "user_timeout": "25d", "congestion": """#,
        &[
            "2:40: it must be from 1ms to 24 days",
            "2:61: a name must not be empty",
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "dscp": "af44""#,
        &[
            r#"2:32: expected a number from 0 to 63 or a name: cs0 to cs7, af11 to af43, ef, va, le, found the string "af44""#,
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "dscp": 64"#,
        &["2:32: expected a whole number from 0 to 63, found the number 64"],
    ),
    (
        r#""bind": "127.0.0.1:1", "dscp": ["ef"]"#,
        &[
            "2:32: expected a number from 0 to 63 or a name: cs0 to cs7, af11 to af43, ef, va, le, found a list",
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "unix_mode": "0660""#,
        &["2:37: none of its addresses is a Unix socket"],
    ),
    (
        r#""bind": "unix:/a", "unix_mode": 660"#,
        &[r#"2:33: expected octal digits in quotes, such as "0660", found the number 660"#],
    ),
    (
        r#""bind": "unix:/a", "unix_mode": "0999""#,
        &[r#"2:33: expected octal digits in quotes, such as "0660", found the string "0999""#],
    ),
    (
        r#""bind": "127.0.0.1:1", "tls": {}, "ssl": true, "rate": 5"#,
        &[
            "2:24: `tls` is not available in this version",
            "2:35: unknown key `ssl`; `tls` is not available in this version",
            "2:48: unknown key `rate`; `rate_limit` is not available in this version",
        ],
    ),
    (
        r#""bind": "127.0.0.1:1", "bind": "127.0.0.1:2""#,
        &["2:24: `bind` is given twice (first at a:2:1)"],
    ),
    (
        r#""bind": "127.0.0.1:1", "cluster": null"#,
        &["2:35: null stands for nothing; leave the key out"],
    ),
    (
        r#""bind": ["127.0.0.1:1", null]"#,
        &["2:25: null stands for nothing; leave it out"],
    ),
    (
        r#""bind": "127.0.0.1:1", "strategy": "rr", "colour": "red""#,
        &[
            "2:24: unknown key `strategy`; did you mean `clusters[].balance`?",
            "2:42: unknown key `colour`; expected name, bind, mode, cluster, max_sessions, accept_proxy_protocol, timeouts, keepalive, user_timeout, interface, mark, dscp, congestion, backlog, ipv6_only, defer_accept, fast_open, unix_mode",
        ],
    ),
];

/// Keys of the only cluster, on line 2.
pub(super) const CLUSTER: &[(&str, &[&str])] = &[
    (
        r#""endpoints": ["a:1"]"#,
        &["1:55: the key `name` is missing"],
    ),
    (r#""name": "c""#, &["1:55: the key `endpoints` is missing"]),
    (
        r#""name": "c", "endpoints": []"#,
        &["2:27: there must be at least one endpoint"],
    ),
    (
        r#""name": "c", "endpoints": "a:1""#,
        &[r#"2:27: expected a list of endpoints, `[ ... ]`, found the string "a:1""#],
    ),
    (
        r#""name": 5, "endpoints": ["a:1"]"#,
        &["2:9: expected a name in quotes, found the number 5"],
    ),
    (
        r#""name": "c", "servers": ["a:1"]"#,
        &["2:14: unknown key `servers`; did you mean `endpoints`?"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "strategy": "round-robin""#,
        &["2:36: unknown key `strategy`; did you mean `balance`?"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "balance": "round-robin""#,
        &["2:47: unknown policy; did you mean `round_robin`? (one of round_robin, least_conn)"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "balance": "leastconn""#,
        &["2:47: unknown policy; did you mean `least_conn`? (one of round_robin, least_conn)"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "balance": "ip_hash""#,
        &["2:47: unknown policy; it is one of round_robin, least_conn"],
    ),
    (
        r#""name": "c", "endpoints": ["http://a:1", "a", "a:0", 5, "a:1,weight=3"]"#,
        &[
            "2:28: `http://` is not part of an address; write a:1",
            "2:42: `a` has no port from 1 to 65535; expected HOST:PORT or unix:/PATH",
            "2:47: `a:0` has no port from 1 to 65535; expected HOST:PORT or unix:/PATH",
            "2:54: expected an address in quotes or an object, `{ ... }`, found the number 5",
            r#"2:57: only the address stands here; write { "address": "a:1", ... } with the rest as keys"#,
        ],
    ),
    (
        r#""name": "c", "endpoints": [{"url": "http://a:1"}]"#,
        &["2:29: unknown key `url`; did you mean `address`?"],
    ),
    (
        r#""name": "c", "endpoints": [{"address": "a:1", "weight": 10001, "enabled": "no", "max_connections": 0}]"#,
        &[
            "2:57: expected a whole number from 0 to 10000, found the number 10001",
            r#"2:75: expected true or false, found the string "no""#,
            "2:100: expected a whole number from 1 to 4294967295, found the number 0",
        ],
    ),
    (
        r#""name": "c", "endpoints": [{"address": "a:1", "maxconn": 5, "backup": true, "check": true, "prio": 1, "ssl": 1}]"#,
        &[
            "2:47: unknown key `maxconn`; did you mean `max_connections`?",
            "2:77: unknown key `check`; did you mean `clusters[].health`?",
            "2:92: unknown key `prio`; did you mean `priority`?",
            "2:103: unknown key `ssl`; `tls` is not available in this version",
        ],
    ),
    (
        r#""name": "c", "endpoints": [{"address": "a:1", "name": "x"}, {"address": "a:2", "name": "x"}]"#,
        &["2:88: two endpoints are named `x` (first at a:2:55)"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "timeouts": {"connect": 5, "server": "1s", "proxy_read_timeout": "1s"}"#,
        &[
            r#"2:60: expected a time with a unit, found the number 5; write "5s" for seconds, "5ms" for milliseconds"#,
            "2:63: unknown key `server`; did you mean `idle`?",
            "2:79: unknown key `proxy_read_timeout`; `request` is not available in this version",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "timeouts": {"connect": "0s", "idle": "46d"}"#,
        &[
            "2:60: it must be more than 0 and at most 45 days",
            "2:74: it must be more than 0 and at most 45 days",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "backend_timeout": "5s", "connect_timeout": "5s", "proxy_timeout": "1s""#,
        &[
            "2:36: unknown key `backend_timeout`; did you mean `timeouts.connect`?",
            "2:61: unknown key `connect_timeout`; did you mean `timeouts.connect`?",
            "2:86: unknown key `proxy_timeout`; did you mean `timeouts.idle`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "retry": {"tries": 9, "within": "0s", "attempts": 1}"#,
        &[
            "2:55: expected a whole number from 1 to 8, found the number 9",
            "2:68: it must be more than 0 and at most 45 days",
            "2:74: unknown key `attempts`; did you mean `tries`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "retry": 3, "retries": 3"#,
        &[
            "2:45: expected an object, `{ ... }`, found the number 3",
            "2:48: unknown key `retries`; did you mean `retry.tries`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "send_proxy_protocol": true"#,
        &[r#"2:59: expected "v1", "v2" or an object, `{ ... }`, found true"#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "send_proxy_protocol": "v3", "send-proxy-v2": true"#,
        &[
            r#"2:59: expected one of "v1", "v2", found the string "v3"; did you mean "v1"?"#,
            "2:65: unknown key `send-proxy-v2`; did you mean `send_proxy_protocol`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "send_proxy_protocol": {"version": "v1", "checksum": true}"#,
        &[r#"2:59: version 1 has no further fields; use "v2""#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "send_proxy_protocol": {"authority": ""}"#,
        &["2:73: it must have 1 to 255 bytes"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "send_proxy_protocol": {"custom": [{"type": 1, "value": "a"}, {"type": "0xF0", "hex": "0"}, {"type": "0xE1"}]}"#,
        &[
            "2:80: expected a whole number from 224 to 239, found the number 1",
            r#"2:107: expected a type from 224 to 239, or "0xE0" to "0xEF", found the string "0xF0""#,
            r#"2:122: expected pairs of hexadecimal digits in quotes, such as "00ff", found the string "0""#,
            "2:128: expected either `value` or `hex` beside `type`",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "send_proxy_protocol": {"custom": [{"type": 224, "value": "a"}, {"type": "0xE0", "hex": "00ff"}]}"#,
        &["2:100: the type is given twice (first at a:2:71)"],
    ),
    (
        r#""name": "c", "endpoints": ["10.0.0.1:1"], "source": "::1""#,
        &["2:53: none of them can connect to 10.0.0.1:1: it is of the other family"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "source": "10.0.0.1:80""#,
        &[
            r#"2:46: expected an address of this host without a port, such as "10.0.0.5", found the string "10.0.0.1:80""#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "source": ["10.0.0.1", 5], "fast_open": 3, "tfo": true"#,
        &[
            r#"2:59: expected an address of this host without a port, such as "10.0.0.5", found the number 5"#,
            "2:76: expected true or false, found the number 3",
            "2:79: unknown key `tfo`; did you mean `fast_open`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {}, "health_check": {}, "breaker": {}, "sticky": true, "pool": 5"#,
        &[
            "2:46: the key `type` is missing",
            "2:50: unknown key `health_check`; did you mean `health`?",
            "2:85: unknown key `sticky`; `affinity` is not available in this version",
            "2:101: `pool` is not available in this version",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"]}, {"name": "c", "endpoints": ["a:2"]"#,
        &[
            "1:16: the key `cluster` is missing, and there are several: `c`, `c`",
            "2:46: two clusters are named `c` (first at a:2:9)",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"]}, {"name": "d", "endpoints": ["a:2"]"#,
        &["1:16: the key `cluster` is missing, and there are several: `c`, `d`"],
    ),
    (
        r#""name": "ümlaut", "colour": "é", "endpoints": ["ä:1", "ö"]"#,
        &[
            "2:19: unknown key `colour`; expected name, balance, endpoints, timeouts, retry, send_proxy_protocol, source, fast_open, keepalive, user_timeout, interface, mark, dscp, congestion, health, breaker, when_none_healthy, panic_threshold, sessions, slow_start",
            "2:55: `ö` has no port from 1 to 65535; expected HOST:PORT or unix:/PATH",
        ],
    ),
];
