//! INFO keyspace and cluster.

use super::{fields, line};
use crate::server::Server;

pub fn cluster(srv: &mut Server, out: &mut String) {
    fields!(out, "cluster_enabled" => srv.config.cluster_enabled as u8);
}

pub fn write(srv: &mut Server, out: &mut String) {
    for (i, db) in srv.ks.iter() {
        let (keys, expires) = (db.len(), db.volatile());
        if keys > 0 || expires > 0 {
            line(out, format_args!("db{i}:keys={keys},expires={expires},avg_ttl={}", db.avg_ttl()));
        }
    }
}
