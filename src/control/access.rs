//! Who may use the admin address: the Host header and the token.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The rules of one admin address.
///
/// A browser can be tricked into calling it by a name that resolves to this machine; such a
/// request carries the foreign name as its Host. So the Host must be an own address, `localhost`,
/// or a name that the operator listed.
pub struct Access {
    bind: SocketAddr,
    hosts: Vec<String>,
    token: Option<String>,
}

/// Why the admin address cannot be opened as asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others than this machine could change something.
    #[error(
        "the admin address {0} can be reached from outside this machine: \
         set a token, or listen on 127.0.0.1"
    )]
    Open(SocketAddr),
    /// The token cannot stand in a header, or is empty.
    #[error("the admin token must be visible ASCII and not empty")]
    Token,
}

impl Access {
    /// Rules of the address `bind`; `hosts` are further names that a Host header may carry. With a
    /// token, changes need it; without one, only loopback may be listened on.
    ///
    /// # Errors
    /// If others could change something without a token, or the token is unusable.
    pub fn new(bind: SocketAddr, hosts: Vec<String>, token: Option<String>) -> Result<Self, Error> {
        let usable =
            |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        if !token.as_ref().is_none_or(usable) {
            return Err(Error::Token);
        }
        if token.is_none() && !bind.ip().to_canonical().is_loopback() {
            return Err(Error::Open(bind));
        }
        Ok(Self { bind, hosts, token })
    }

    /// Whether a request with this Host header is meant for us.
    pub(super) fn knows_host(&self, header: &str) -> bool {
        let name = without_port(header);
        match name.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => self.is_own(ip.to_canonical()),
            Err(_name) => {
                name.eq_ignore_ascii_case("localhost")
                    || self
                        .hosts
                        .iter()
                        .any(|host| host.eq_ignore_ascii_case(name))
            }
        }
    }

    /// Whether a request with this Authorization header may change something.
    pub(super) fn may_change(&self, header: Option<&str>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let offered = header.and_then(|header| header.split_once(' '));
        offered.is_some_and(|(scheme, offered)| {
            scheme.eq_ignore_ascii_case("bearer") && same(offered.trim(), token)
        })
    }

    /// Listening on all addresses, any address is our own: a rebound name is never an address.
    fn is_own(&self, ip: IpAddr) -> bool {
        let bind = self.bind.ip().to_canonical();
        let listed = |host: &String| host.parse() == Ok(ip);
        ip.is_loopback() || bind.is_unspecified() || bind == ip || self.hosts.iter().any(listed)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("bind", &self.bind)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// `name:port` or `[v6]:port` without its port.
fn without_port(header: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    match header.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        Some(_) | None => header,
    }
}

/// Whether two texts are equal, in a time that does not tell where they differ.
fn same(offered: &str, token: &str) -> bool {
    let pairs = offered.bytes().zip(token.bytes());
    offered.len() == token.len() && pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_and_listed_names_are_known_and_foreign_names_are_not() {
        let access = access("127.0.0.1:9180", None).expect("loopback");
        for host in [
            "localhost:9180",
            "LocalHost",
            "127.0.0.1:9180",
            "127.0.0.5",
            "[::1]:9180",
            "[::1]",
            "proxy.internal:9180",
            "10.1.2.3:80",
        ] {
            assert!(access.knows_host(host), "{host}");
        }
        for host in [
            "evil.example:9180",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:9180",
            "",
            ":",
            "[",
        ] {
            assert!(!access.knows_host(host), "{host}");
        }
    }

    #[test]
    fn listening_everywhere_knows_every_address_but_no_foreign_name() {
        let access = access("0.0.0.0:9180", Some("secret")).expect("a token");
        assert!(access.knows_host("10.9.8.7:9180"));
        assert!(!access.knows_host("evil.example:9180"));
    }

    #[test]
    fn without_a_token_only_loopback_may_be_listened_on() {
        for bind in ["0.0.0.0:9180", "10.0.0.1:9180", "[::]:9180"] {
            let error = access(bind, None).expect_err("open to others");
            assert!(error.to_string().contains("set a token"), "{error}");
        }
        for bind in ["127.0.0.1:9180", "[::1]:9180", "[::ffff:127.0.0.1]:9180"] {
            access(bind, None).expect(bind);
        }
    }

    #[test]
    fn a_token_that_no_header_can_carry_is_refused() {
        for token in ["", "two words", "line\n", "schlüssel"] {
            assert!(
                matches!(access("127.0.0.1:1", Some(token)), Err(Error::Token)),
                "{token:?}"
            );
        }
    }

    #[test]
    fn changes_need_the_token_where_there_is_one() {
        let open = access("127.0.0.1:9180", None).expect("loopback");
        assert!(open.may_change(None));

        let closed = access("0.0.0.0:9180", Some("secret")).expect("a token");
        assert!(closed.may_change(Some("Bearer secret")));
        assert!(closed.may_change(Some("bearer  secret ")));
        for header in [
            "secret",
            "Basic secret",
            "Bearer secre",
            "Bearer secret2",
            "Bearer",
        ] {
            assert!(!closed.may_change(Some(header)), "{header}");
        }
        assert!(!closed.may_change(None));
    }

    #[test]
    fn a_token_is_not_shown_by_debug() {
        let access = access("0.0.0.0:9180", Some("secret")).expect("a token");
        assert!(!format!("{access:?}").contains("secret"));
    }

    fn access(bind: &str, token: Option<&str>) -> Result<Access, Error> {
        let hosts = vec!["proxy.internal".to_owned(), "10.1.2.3".to_owned()];
        let bind = bind.parse().expect("an address");
        Access::new(bind, hosts, token.map(str::to_owned))
    }
}
