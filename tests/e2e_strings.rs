//! Strings and bitmaps, end to end: the real binary, spoken to through raw sockets and the `redis` crate.

mod common;

use common::*;

#[test]
fn smoke_through_the_redis_crate() {
    use redis::Commands;
    let srv = Server::start();
    let mut c = srv.client();
    let _: () = c.set("greeting", "hello").expect("SET");
    assert_eq!(c.get::<_, String>("greeting").expect("GET"), "hello");
    assert_eq!(redis::cmd("INCR").arg("n").query::<i64>(&mut c).expect("INCR"), 1);
}

#[test]
fn smoke_raw() {
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!(c.pipeline(&["SET k v", "GET k", "GET nosuch"]), [Value::ok(), Value::bulk("v"), Null]);
}
