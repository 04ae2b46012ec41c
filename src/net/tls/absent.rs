//! A build without TLS: contexts cannot be built, so there are no sessions.

use super::{CertFacts, ClientAuth, Settings};
use crate::net::reactor::Ready;
use crate::net::stream::{Allowed, Read, Written};
use mio::net::TcpStream;
use std::io::{self, IoSlice};

#[derive(Debug)]
pub enum Contexts {}

impl Contexts {
    pub fn build(_: &Settings, _: i64) -> Result<Contexts, String> {
        Err("Failed finding TLS support.".into())
    }

    pub fn accept(&self, _: TcpStream, _: ClientAuth) -> io::Result<Tls> {
        match *self {}
    }

    pub fn connect(&self, _: TcpStream, _: &str) -> io::Result<Tls> {
        match *self {}
    }

    pub fn certificates(&self) -> &[CertFacts] {
        match *self {}
    }
}

#[derive(Debug)]
pub enum Tls {}

impl Tls {
    pub fn tcp(&self) -> &TcpStream {
        match *self {}
    }

    pub fn tcp_mut(&mut self) -> &mut TcpStream {
        match *self {}
    }

    pub fn signalled(&mut self, _: &Ready) -> Allowed {
        match *self {}
    }

    pub fn handshake(&mut self) -> Result<bool, String> {
        match *self {}
    }

    pub fn waits_to_write(&self) -> bool {
        match *self {}
    }

    pub fn read_into(&mut self, _: &mut Vec<u8>, _: usize) -> io::Result<Read> {
        match *self {}
    }

    pub fn write(&mut self, _: &[u8]) -> io::Result<Written> {
        match *self {}
    }

    pub fn write_vectored(&mut self, _: &[IoSlice]) -> io::Result<Written> {
        match *self {}
    }

    pub fn farewell(&mut self) {
        match *self {}
    }
}
