//! `admin`: where it is steered and observed, and who may.
#![forbid(unsafe_code)]

use crate::bounds::ADMIN_HOSTS_MAX;
use crate::config::errors::Found;
use crate::config::fields::Fields;
use crate::config::tree::{Node, Value};
use crate::config::values::{choice, list, one_or_list, parsed, path, string};
use crate::plan::admin::{AdminPlan, PublicRoute, Secret};

/// Reads `admin`.
pub(super) fn admin(node: &Node, found: &mut Found) -> Option<AdminPlan> {
    let mut fields = Fields::of(node, "admin", found)?;
    let bind = fields.require("bind", found, |node, found| {
        let expected = "ADDRESS:PORT in quotes, such as \"127.0.0.1:9900\"";
        parsed(node, expected, found)
    });
    let token = fields.read("token", found, token);
    let public = fields.read("public", found, |node, found| {
        let expected = "a list of \"metrics\", \"healthz\" and \"readyz\"";
        let nodes = list(node, expected, PublicRoute::ALL.len(), found)?;
        let routes: Vec<_> = nodes.iter().map(|node| route(node, found)).collect();
        routes.into_iter().collect()
    });
    let hosts = fields.read("hosts", found, |node, found| {
        let nodes = one_or_list(node, ADMIN_HOSTS_MAX, found);
        let hosts: Vec<_> = nodes.iter().map(|node| string(node, found)).collect();
        hosts.into_iter().collect()
    });
    fields.finish(found);
    let mut admin = AdminPlan::on(bind?);
    admin.token = token;
    admin.public = public;
    admin.hosts = hosts.unwrap_or_default();
    Some(admin)
}

/// The value itself, or where it is. Its own text is in no error.
fn token(node: &Node, found: &mut Found) -> Option<Secret> {
    match &node.value {
        Value::Text(text) => Some(Secret::Inline(text.clone())),
        Value::Object(_) => {
            let mut fields = Fields::of(node, "admin.token", found)?;
            let variable = fields.take("env", found);
            let file = fields.take("file", found);
            fields.finish(found);
            match (variable, file) {
                (Some(node), None) => string(node, found).map(Secret::Env),
                (None, Some(node)) => path(node, found).map(Secret::File),
                (None, None) | (Some(_), Some(_)) => {
                    found.add(node.mark, "expected either `env` or `file`");
                    None
                }
            }
        }
        Value::Broken => None,
        Value::Flag(_) | Value::Number(_) | Value::List(_) => {
            let expected = "{ \"env\": \"NAME\" }, { \"file\": \"/PATH\" } or a text in quotes";
            found.add(node.mark, format!("expected {expected}"));
            None
        }
    }
}

fn route(node: &Node, found: &mut Found) -> Option<PublicRoute> {
    choice(node, &ROUTES, found)
}

const ROUTES: [(&str, PublicRoute); 3] = [
    ("metrics", PublicRoute::Metrics),
    ("healthz", PublicRoute::Healthz),
    ("readyz", PublicRoute::Readyz),
];
