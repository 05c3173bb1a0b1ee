//! Wrong configurations of health, breaker, admin and names, and exactly what is said about them.
#![forbid(unsafe_code)]

/// Keys beside a good listener and a good cluster; they stand on line 2.
pub(super) const ROOT: &[(&str, &[&str])] = &[
    (
        r#""admin": "127.0.0.1:2""#,
        &[r#"2:10: expected an object, `{ ... }`, found the string "127.0.0.1:2""#],
    ),
    (r#""admin": {}"#, &["2:10: the key `bind` is missing"]),
    (
        r#""admin": {"bind": ["127.0.0.1:2"]}"#,
        &[r#"2:19: expected ADDRESS:PORT in quotes, such as "127.0.0.1:9900", found a list"#],
    ),
    (
        r#""admin": {"bind": ":9900"}"#,
        &["2:19: write 0.0.0.0:9900 for every IPv4 address, [::]:9900 for IPv6"],
    ),
    (
        r#""admin": {"bind": "0.0.0.0:2"}"#,
        &[
            r#"2:19: a token is required off loopback: write "token": { "env": "NAME" } or { "file": "/PATH" } beside it in the configuration"#,
        ],
    ),
    (
        r#""admin": {"bind": "10.0.0.1:2", "public": ["metrics"]}"#,
        &[
            r#"2:19: a token is required off loopback: write "token": { "env": "NAME" } or { "file": "/PATH" } beside it in the configuration"#,
        ],
    ),
    (
        r#""admin": {"bind": "[::]:2", "token": {}}"#,
        &["2:38: expected either `env` or `file`"],
    ),
    (
        r#""admin": {"bind": "127.0.0.1:1"}"#,
        &["2:19: 127.0.0.1:1 and 127.0.0.1:1 are both port 1: bind it once (first at a:1:76)"],
    ),
    (
        r#""admin": {"bind": "0.0.0.0:1", "token": {"env": "TOKEN"}}"#,
        &["2:19: 0.0.0.0:1 and 127.0.0.1:1 are both port 1: bind it once (first at a:1:76)"],
    ),
    (
        r#""admin": {"bind": "127.0.0.1:2", "token": ""}"#,
        &["2:43: the token must not be empty"],
    ),
    (
        r#""admin": {"bind": "127.0.0.1:2", "token": "two words"}"#,
        &["2:43: the token must have no spaces, control characters or letters beyond ASCII"],
    ),
    (
        r#""admin": {"bind": "127.0.0.1:2", "token": 12345}"#,
        &[r#"2:43: expected { "env": "NAME" }, { "file": "/PATH" } or a text in quotes"#],
    ),
    (
        r#""admin": {"bind": "127.0.0.1:2", "token": {"env": "A", "file": "/a"}}"#,
        &["2:43: expected either `env` or `file`"],
    ),
    (
        r#""admin": {"bind": "127.0.0.1:2", "token": {"env": "A=B"}}"#,
        &["2:51: it must be the name of an environment variable"],
    ),
    (
        r#""admin": {"bind": "127.0.0.1:2", "token": {"file": "token"}}"#,
        &[
            r#"2:52: expected an absolute path, such as "/run/ringlane.pid", found the string "token""#,
        ],
    ),
    (
        r#""admin": {"bind": "127.0.0.1:2", "token": {"variable": "A"}}"#,
        &[
            "2:43: expected either `env` or `file`",
            "2:44: unknown key `variable`; did you mean `env`?",
        ],
    ),
    (
        r#""admin": {"bind": "127.0.0.1:2", "public": ["/metrics", "healtz", true], "hosts": ["lb:9900", "", "http://lb", "::1", 5]}"#,
        &[
            r#"2:45: expected one of "metrics", "healthz", "readyz", found the string "/metrics"; did you mean "metrics"?"#,
            r#"2:57: expected one of "metrics", "healthz", "readyz", found the string "healtz"; did you mean "healthz"?"#,
            r#"2:67: expected one of "metrics", "healthz", "readyz", found true"#,
            "2:119: expected a text in quotes, found the number 5",
        ],
    ),
    (
        r#""admin": {"bind": "127.0.0.1:2", "public": "metrics", "hosts": ["lb:9900", "", "http://lb", "::1"]}"#,
        &[
            r#"2:44: expected a list of "metrics", "healthz" and "readyz", found the string "metrics""#,
            "2:65: expected a name without a port, such as lb.example.com",
            "2:76: expected a name without a port, such as lb.example.com",
            "2:80: expected a name without a port, such as lb.example.com",
        ],
    ),
    (
        r#""admin": {"listen": "127.0.0.1:2", "secret": "a", "auth": {}, "allowed_hosts": []}"#,
        &[
            "2:11: unknown key `listen`; did you mean `bind`?",
            "2:36: unknown key `secret`; did you mean `token`?",
            "2:51: unknown key `auth`; `users` is not available in this version",
            "2:63: unknown key `allowed_hosts`; did you mean `hosts`?",
        ],
    ),
    (
        r#""admin_port": 9900, "stats socket": "/run/a.sock", "resolvers": {}, "nameserver": "10.0.0.1""#,
        &[
            "2:1: unknown key `admin_port`; did you mean `admin`?",
            "2:21: unknown key `stats socket`; did you mean `admin`?",
            "2:52: unknown key `resolvers`; did you mean `dns`?",
            "2:69: unknown key `nameserver`; did you mean `dns`?",
        ],
    ),
    (
        r#""dns": "10.0.0.53""#,
        &[r#"2:8: expected an object, `{ ... }`, found the string "10.0.0.53""#],
    ),
    (
        r#""dns": {"servers": ["10.0.0.53", "dns.example:53", 53, "[::1]"]}"#,
        &[
            r#"2:34: expected the address of a name server in quotes, such as "10.0.0.1" or "[::1]:53", found the string "dns.example:53""#,
            r#"2:52: expected the address of a name server in quotes, such as "10.0.0.1" or "[::1]:53", found the number 53"#,
            r#"2:56: expected the address of a name server in quotes, such as "10.0.0.1" or "[::1]:53", found the string "[::1]""#,
        ],
    ),
    (
        r#""dns": {"servers": "10.0.0.53:0", "resolv_conf": "resolv.conf", "hosts": 5}"#,
        &[
            "2:20: the port must be from 1 to 65535",
            r#"2:50: expected an absolute path, such as "/run/ringlane.pid", found the string "resolv.conf""#,
            r#"2:74: expected an absolute path, such as "/run/ringlane.pid", found the number 5"#,
        ],
    ),
    (
        r#""dns": {"servers": ["10.0.0.53:0", "::1"], "timeout": "0s", "attempts": 0}"#,
        &[
            "2:21: the port must be from 1 to 65535",
            "2:55: it must be more than 0 and at most 30s",
            "2:73: expected a whole number from 1 to 10, found the number 0",
        ],
    ),
    (
        r#""dns": {"timeout": "31s", "attempts": 11, "min_ttl": "0s", "max_ttl": "0s"}"#,
        &[
            "2:20: it must be more than 0 and at most 30s",
            "2:39: expected a whole number from 1 to 10, found the number 11",
        ],
    ),
    (
        r#""dns": {"min_ttl": "10s", "max_ttl": "5s"}"#,
        &["2:20: it must be at most `max_ttl`"],
    ),
    (
        r#""dns": {"min_ttl": 10, "max_ttl": "1s"}"#,
        &[
            r#"2:20: expected a time with a unit, found the number 10; write "10s" for seconds, "10ms" for milliseconds"#,
        ],
    ),
    (
        r#""dns": {"nameserver": "10.0.0.1", "hold valid": "10s", "resolve_retries": 3, "timeout retry": "1s", "colour": 1}"#,
        &[
            "2:9: unknown key `nameserver`; did you mean `servers`?",
            "2:35: unknown key `hold valid`; did you mean `min_ttl`?",
            "2:56: unknown key `resolve_retries`; did you mean `attempts`?",
            "2:78: unknown key `timeout retry`; did you mean `timeout`?",
            "2:101: unknown key `colour`; expected servers, resolv_conf, hosts, timeout, attempts, min_ttl, max_ttl",
        ],
    ),
];

/// Keys of the only cluster, on line 2.
pub(super) const CLUSTER: &[(&str, &[&str])] = &[
    (
        r#""name": "c", "endpoints": ["a:1"], "health": false"#,
        &[r#"2:46: expected "tcp", "http" or an object, `{ ... }`, found false"#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": "icmp""#,
        &[r#"2:46: expected one of "tcp", "http", "send_expect", found the string "icmp""#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": "send_expect""#,
        &[r#"2:46: say what is expected: { "type": "send_expect", "expect": "..." }"#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {}"#,
        &["2:46: the key `type` is missing"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "https", "interval": "0s"}"#,
        &[
            r#"2:55: expected one of "tcp", "http", "send_expect", found the string "https"; did you mean "http"?"#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "tcp", "interval": 5, "timeout": "9s", "fast_interval": "9s"}"#,
        &[
            r#"2:74: expected a time with a unit, found the number 5; write "5s" for seconds, "5ms" for milliseconds"#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "tcp", "interval": "0s"}"#,
        &["2:74: it must be from 10ms to 45 days"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "tcp", "interval": "1ms", "fast_interval": "0s", "timeout": "0s"}"#,
        &[
            "2:74: it must be from 10ms to 45 days",
            "2:98: it must be from 10ms to 45 days",
            "2:115: it must be more than 0 and at most 45 days",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "tcp", "interval": "2s", "timeout": "3s", "fast_interval": "2500ms"}"#,
        &[
            "2:91: it must be at most the interval: probes do not overlap",
            "2:114: it must be at most the interval",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "tcp", "timeout": "3s"}"#,
        &["2:73: it must be at most the interval: probes do not overlap"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "tcp", "rise": 0, "fall": 1001, "jitter": "101%", "port": 0}"#,
        &[
            "2:70: expected a whole number from 1 to 1000, found the number 0",
            "2:81: expected a whole number from 1 to 1000, found the number 1001",
            r#"2:97: expected per cent from 0 to 100, such as 50 or "50%", found the string "101%""#,
            "2:113: expected a whole number from 1 to 65535, found the number 0",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "tcp", "rise": "2", "jitter": "10", "port": "80"}"#,
        &[
            r#"2:70: expected a whole number from 1 to 1000, found the string "2""#,
            r#"2:85: expected per cent from 0 to 100, such as 50 or "50%", found the string "10""#,
            r#"2:99: expected a whole number from 1 to 65535, found the string "80""#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "tcp", "jitter": -1}"#,
        &[r#"2:72: expected per cent from 0 to 100, such as 50 or "50%", found the number -1"#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "tcp", "jitter": 1.5, "method": 5, "send": "x", "body": "y"}"#,
        &[
            r#"2:72: expected per cent from 0 to 100, such as 50 or "50%", found the number 1.5"#,
            r#"2:77: `method` belongs to the type "http", and this is "tcp""#,
            r#"2:90: `send` belongs to the type "send_expect", and this is "tcp""#,
            r#"2:103: `body` belongs to the type "http", and this is "tcp""#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "http", "send": "x", "expect": "y"}"#,
        &[
            r#"2:63: `send` belongs to the type "send_expect", and this is "http""#,
            r#"2:76: `expect` belongs to the type "send_expect", and this is "http""#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "send_expect", "expect": "y", "path": "/", "status": 200, "host": "a"}"#,
        &[
            r#"2:85: `path` belongs to the type "http", and this is "send_expect""#,
            r#"2:98: `status` belongs to the type "http", and this is "send_expect""#,
            r#"2:113: `host` belongs to the type "http", and this is "send_expect""#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "http", "method": "GET /", "path": "healthz", "host": "a\r\nX: 1"}"#,
        &[
            "2:73: it must be the name of a method, such as GET",
            "2:90: it must begin with `/`",
            "2:109: it must be a name or an address, maybe with a port",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "http", "method": "", "path": "/a b", "host": ""}"#,
        &[
            "2:73: it must be the name of a method, such as GET",
            "2:85: it must have no spaces, control characters or letters beyond ASCII; write such bytes as %20",
            "2:101: it must be a name or an address, maybe with a port",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "http", "path": "/\r\nX: 1", "body": ""}"#,
        &[
            "2:71: it must have no spaces, control characters or letters beyond ASCII; write such bytes as %20",
            "2:92: every body has that; leave the key out",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "http", "path": "http://a/", "host": "http://a"}"#,
        &[
            "2:71: it must begin with `/`",
            "2:92: it must be a name or an address, maybe with a port",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "http", "method": "HEAD", "body": "ok"}"#,
        &["2:89: an answer to HEAD has no body"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "http", "status": []}"#,
        &["2:73: there must be at least one status"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "http", "status": [99, "200-600", "399-200", 599]}"#,
        &[
            "2:74: a status is from 100 to 599",
            "2:78: a status is from 100 to 599",
            "2:89: `399-200` is a range that ends before it starts",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "http", "status": "399-200"}"#,
        &["2:73: `399-200` is a range that ends before it starts"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "http", "status": ["2xx", true, "200-", 70000, "+200"]}"#,
        &[
            r#"2:74: expected a status such as 200, or a range in quotes, such as "200-399", found the string "2xx""#,
            r#"2:81: expected a status such as 200, or a range in quotes, such as "200-399", found true"#,
            r#"2:87: expected a status such as 200, or a range in quotes, such as "200-399", found the string "200-""#,
            r#"2:95: expected a status such as 200, or a range in quotes, such as "200-399", found the number 70000"#,
            r#"2:102: expected a status such as 200, or a range in quotes, such as "200-399", found the string "+200""#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "send_expect"}"#,
        &["2:46: the key `expect` is missing"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "send_expect", "send": "PING", "expect": ""}"#,
        &[r#"2:96: it must have at least one byte; the type "tcp" expects none"#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "send_expect", "send": {"hex": "0"}, "expect": {"bytes": "00"}}"#,
        &[
            r#"2:86: expected pairs of hexadecimal digits in quotes, such as "00ff", found the string "0""#,
            "2:103: unknown key `bytes`; did you mean `hex`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "send_expect", "send": 5, "expect": {}}"#,
        &[
            r#"2:78: expected a text in quotes or { "hex": "00ff" }, found the number 5"#,
            "2:91: the key `hex` is missing",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"type": "send_expect", "expect": {"hex": ""}}"#,
        &[r#"2:80: it must have at least one byte; the type "tcp" expects none"#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health": {"check": "tcp", "inter": "2s", "fastinter": "1s", "unhealthy_threshold": 3, "healthy_threshold": 2, "uri": "/", "colour": 1}"#,
        &[
            "2:47: unknown key `check`; did you mean `type`?",
            "2:63: unknown key `inter`; did you mean `interval`?",
            "2:78: unknown key `fastinter`; did you mean `fast_interval`?",
            "2:97: unknown key `unhealthy_threshold`; did you mean `fall`?",
            "2:123: unknown key `healthy_threshold`; did you mean `rise`?",
            "2:147: unknown key `uri`; did you mean `path`?",
            "2:159: unknown key `colour`; expected type, interval, timeout, fast_interval, rise, fall, jitter, port, method, path, host, status, body, send, expect",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "inter": "2s", "fastinter": "1s", "rise": 2, "fall": 3, "option httpchk": "GET /", "health_check_frequency": 5, "http-check": "expect status 200", "tcp-check": true"#,
        &[
            "2:36: unknown key `inter`; did you mean `health.interval`?",
            "2:51: unknown key `fastinter`; did you mean `health.fast_interval`?",
            "2:70: unknown key `rise`; did you mean `health.rise`?",
            "2:81: unknown key `fall`; did you mean `health.fall`?",
            "2:92: unknown key `option httpchk`; did you mean `health`?",
            "2:119: unknown key `health_check_frequency`; did you mean `health.interval`?",
            "2:148: unknown key `http-check`; did you mean `health`?",
            "2:183: unknown key `tcp-check`; did you mean `health`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "health_check": {}, "check": true, "healthy_threshold": 1, "unhealthy_threshold": 1, "health_check_method": "GET""#,
        &[
            "2:36: unknown key `health_check`; did you mean `health`?",
            "2:56: unknown key `check`; did you mean `health`?",
            "2:71: unknown key `healthy_threshold`; did you mean `health.rise`?",
            "2:95: unknown key `unhealthy_threshold`; did you mean `health.fall`?",
            "2:121: unknown key `health_check_method`; did you mean `health.method`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "breaker": true"#,
        &[r#"2:47: expected "off", false or an object, `{ ... }`, found true"#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "breaker": "on""#,
        &[r#"2:47: expected "off", false or an object, `{ ... }`, found the string "on""#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "breaker": {"failure_threshold": 0, "open": "0s", "open_max": "46d", "max_ejected": 101}"#,
        &[
            "2:69: expected a whole number from 1 to 1000, found the number 0",
            "2:80: it must be more than 0 and at most 45 days",
            r#"2:120: expected per cent from 0 to 100, such as 50 or "50%", found the number 101"#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "breaker": {"open": "10m", "open_max": "5m"}"#,
        &["2:75: it must be at least `open`"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "breaker": {"open": 10, "open_max": "5s"}"#,
        &[
            r#"2:56: expected a time with a unit, found the number 10; write "10s" for seconds, "10ms" for milliseconds"#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "breaker": {"consecutive_5xx": 5, "base_ejection_time": "30s", "max_ejection_time": "5m", "max_ejection_percent": 10, "interval": "1s"}"#,
        &[
            "2:48: unknown key `consecutive_5xx`; did you mean `failure_threshold`?",
            "2:70: unknown key `base_ejection_time`; did you mean `open`?",
            "2:99: unknown key `max_ejection_time`; did you mean `open_max`?",
            "2:126: unknown key `max_ejection_percent`; did you mean `max_ejected`?",
            "2:154: unknown key `interval`; expected failure_threshold, open, open_max, max_ejected",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "outlier_detection": {}, "max_fails": 3, "fail_timeout": "10s", "circuit_breaker": {}, "consecutive_5xx": 5, "base_ejection_time": "30s", "max_ejection_percent": 10, "max_ejection_time": "5m""#,
        &[
            "2:36: unknown key `outlier_detection`; did you mean `breaker`?",
            "2:61: unknown key `max_fails`; did you mean `breaker.failure_threshold`?",
            "2:77: unknown key `fail_timeout`; did you mean `breaker.open`?",
            "2:100: unknown key `circuit_breaker`; did you mean `breaker`?",
            "2:123: unknown key `consecutive_5xx`; did you mean `breaker.failure_threshold`?",
            "2:145: unknown key `base_ejection_time`; did you mean `breaker.open`?",
            "2:174: unknown key `max_ejection_percent`; did you mean `breaker.max_ejected`?",
            "2:202: unknown key `max_ejection_time`; did you mean `breaker.open_max`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "when_none_healthy": "reject", "panic_threshold": "150%", "slow_start": "0s""#,
        &[
            r#"2:57: expected one of "refuse", "try_least_failed", found the string "reject""#,
            r#"2:86: expected per cent from 0 to 100, such as 50 or "50%", found the string "150%""#,
            "2:108: it must be more than 0 and at most 1 day",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "when_none_healthy": true, "panic_threshold": "half", "slow_start": 30"#,
        &[
            r#"2:57: expected one of "refuse", "try_least_failed", found true"#,
            r#"2:82: expected per cent from 0 to 100, such as 50 or "50%", found the string "half""#,
            r#"2:104: expected a time with a unit, found the number 30; write "30s" for seconds, "30ms" for milliseconds"#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "slow_start": "25h""#,
        &["2:50: it must be more than 0 and at most 1 day"],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "slowstart": "30s", "healthy_panic_threshold": 50, "on-marked-down": "shutdown-sessions", "drain": "30s", "option allbackups": true"#,
        &[
            "2:36: unknown key `slowstart`; did you mean `slow_start`?",
            "2:56: unknown key `healthy_panic_threshold`; did you mean `panic_threshold`?",
            "2:87: unknown key `on-marked-down`; did you mean `sessions.unhealthy`?",
            "2:126: unknown key `drain`; did you mean `sessions`?",
            "2:142: unknown key `option allbackups`; did you mean `when_none_healthy`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "sessions": "keep""#,
        &[r#"2:48: expected an object, `{ ... }`, found the string "keep""#],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "sessions": {"removed": "drain", "unhealthy": "close", "disabled": false}"#,
        &[
            r#"2:60: say for how long: { "drain": "30s" }"#,
            r#"2:82: expected "keep", "reset" or { "drain": "30s" }, found the string "close""#,
            r#"2:103: expected "keep", "reset" or { "drain": "30s" }, found false"#,
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "sessions": {"removed": {"drain": "0s"}, "unhealthy": {}, "disabled": {"drain": 30, "timeout": "1s"}, "down": "reset"}"#,
        &[
            "2:70: it must be more than 0 and at most 45 days",
            "2:90: the key `drain` is missing",
            r#"2:116: expected a time with a unit, found the number 30; write "30s" for seconds, "30ms" for milliseconds"#,
            "2:120: unknown key `timeout`; did you mean `drain`?",
            "2:138: unknown key `down`; did you mean `unhealthy`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["srv:pg.example.com", "srv:_pg._tcp.example.com:5432"]"#,
        &[
            "2:28: `pg.example.com` is no service; expected srv:_SERVICE._tcp.NAME, such as srv:_pg._tcp.example.com; its records have the ports",
            "2:50: `_pg._tcp.example.com:5432` is no service; expected srv:_SERVICE._tcp.NAME, such as srv:_pg._tcp.example.com; its records have the ports",
        ],
    ),
    (
        r#""name": "c", "endpoints": [{"address": "a:1", "priority": 256, "backup": 1, "health": "10.0.0.1:80"}]"#,
        &[
            "2:59: expected a whole number from 0 to 255, found the number 256",
            "2:74: expected true or false, found the number 1",
            r#"2:87: expected an object, `{ ... }`, found the string "10.0.0.1:80""#,
        ],
    ),
    (
        r#""name": "c", "endpoints": [{"address": "a:1", "priority": -1, "health": {"address": "a", "port": 0, "check_port": 1}}]"#,
        &[
            "2:59: expected a whole number from 0 to 255, found the number -1",
            r#"2:85: expected an address without a port, such as "10.0.0.1", found the string "a""#,
            "2:98: expected a whole number from 1 to 65535, found the number 0",
            "2:101: unknown key `check_port`; did you mean `port`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": [{"address": "a:1", "health": {"port": 81}}, {"address": "a:2", "health": {"address": "10.0.0.1"}}]"#,
        &[
            "2:57: without effect: its cluster has no `health`",
            "2:101: without effect: its cluster has no `health`",
        ],
    ),
    (
        r#""name": "c", "endpoints": [{"address": "a:1", "health": {"port": 81}}], "health": {"type": "icmp"}"#,
        &[r#"2:92: expected one of "tcp", "http", "send_expect", found the string "icmp""#],
    ),
    (
        r#""name": "c", "health": {"type": "tcp", "port": 81}, "endpoints": ["unix:/a", "unix:/b"]"#,
        &["2:48: unix:/a has no ports; give it a `health` with an `address`"],
    ),
    (
        r#""name": "c", "health": "tcp", "endpoints": [{"address": "unix:/a", "health": {"port": 81}}, {"address": "unix:/b", "health": {"address": "10.0.0.1"}}]"#,
        &[
            "2:87: unix:/a has no ports; give an `address` beside it",
            "2:138: unix:/b has no port to be probed at; give a `port` beside it",
        ],
    ),
    (
        r#""name": "c", "health": {"type": "tcp", "port": 81}, "endpoints": [{"address": "unix:/a", "health": {"address": "a"}}]"#,
        &[r#"2:112: expected an address without a port, such as "10.0.0.1", found the string "a""#],
    ),
    (
        r#""name": "c", "endpoints": [{"address": "a:1", "check": true, "inter": "2s", "fall": 3, "max_fails": 3, "slow_start": "30s", "tier": 1, "standby": true, "resolvers": "dns"}]"#,
        &[
            "2:47: unknown key `check`; did you mean `clusters[].health`?",
            "2:62: unknown key `inter`; did you mean `clusters[].health.interval`?",
            "2:77: unknown key `fall`; did you mean `clusters[].health.fall`?",
            "2:88: unknown key `max_fails`; did you mean `clusters[].breaker.failure_threshold`?",
            "2:104: unknown key `slow_start`; did you mean `clusters[].slow_start`?",
            "2:125: unknown key `tier`; did you mean `priority`?",
            "2:136: unknown key `standby`; did you mean `backup`?",
            "2:153: unknown key `resolvers`; did you mean `dns`?",
        ],
    ),
    (
        r#""name": "c", "endpoints": ["a:1"], "resolvers": "dns", "service": "web", "dns_refresh_rate": "5s""#,
        &[
            "2:36: unknown key `resolvers`; did you mean `dns`?",
            "2:56: unknown key `service`; did you mean `clusters[].endpoints[].address`?",
            "2:74: unknown key `dns_refresh_rate`; did you mean `dns.min_ttl`?",
        ],
    ),
];
