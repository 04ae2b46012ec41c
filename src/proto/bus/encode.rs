//! Packets to bytes: one block each, which all receivers share.

use super::{Body, Ext, Flags, Gossip, HEADER, Header, SIGNATURE, VERSION};
use std::net::IpAddr;
use std::sync::Arc;

/// Length of the address field.
const IP: usize = 46;

/// The bytes of a packet.
pub fn encode(header: &Header<'_>, body: &Body<'_>) -> Arc<[u8]> {
    let mut out = Vec::with_capacity(HEADER + 1024);
    let (count, extensions) = match body {
        Body::Ping(entries, exts) | Body::Pong(entries, exts) | Body::Meet(entries, exts) => {
            (entries.0.len() / super::ENTRY, exts.count)
        }
        _ => (0, 0),
    };
    out.extend_from_slice(SIGNATURE);
    out.extend_from_slice(&[0; 4]);
    put16(&mut out, &[VERSION, header.port, body.kind() as u16, count as u16]);
    for number in [header.current_epoch, header.config_epoch, header.offset] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(header.sender);
    out.extend_from_slice(header.slots);
    out.extend_from_slice(header.master.unwrap_or(&[0; 40]));
    put_ip(&mut out, header.ip);
    put16(&mut out, &[extensions]);
    out.extend_from_slice(&[0; 30]);
    put16(&mut out, &[header.other_port, header.bus_port, header.flags.0]);
    out.extend_from_slice(&[u8::from(header.failed), header.mflags, 0, 0]);
    debug_assert_eq!(out.len(), HEADER);
    put_body(&mut out, body);
    let length = u32::try_from(out.len()).expect("a packet is shorter than two bulks");
    out[4..8].copy_from_slice(&length.to_be_bytes());
    out.into()
}

fn put_body(out: &mut Vec<u8>, body: &Body<'_>) {
    match body {
        Body::Ping(entries, exts) | Body::Pong(entries, exts) | Body::Meet(entries, exts) => {
            out.extend_from_slice(entries.0);
            out.extend_from_slice(exts.bytes);
        }
        Body::Fail(name) => out.extend_from_slice(*name),
        Body::Publish { channel, message, .. } => {
            out.reserve_exact(8 + channel.len() + message.len());
            out.extend_from_slice(&(channel.len() as u32).to_be_bytes());
            out.extend_from_slice(&(message.len() as u32).to_be_bytes());
            out.extend_from_slice(channel);
            out.extend_from_slice(message);
        }
        Body::Update { config_epoch, node, slots } => {
            out.extend_from_slice(&config_epoch.to_be_bytes());
            out.extend_from_slice(*node);
            out.extend_from_slice(*slots);
        }
        Body::Module { module, kind, payload } => {
            out.extend_from_slice(&module.to_ne_bytes());
            out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
            out.push(*kind);
            out.extend_from_slice(payload);
        }
        Body::AuthRequest | Body::AuthAck | Body::MfStart => {}
    }
}

fn put16(out: &mut Vec<u8>, numbers: &[u16]) {
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn put_ip(out: &mut Vec<u8>, ip: Option<IpAddr>) {
    let end = out.len() + IP;
    if let Some(ip) = ip {
        out.extend_from_slice(ip.to_string().as_bytes());
    }
    debug_assert!(out.len() < end, "the longest address has 45 bytes");
    out.resize(end, 0);
}

/// Appends an entry to those of a packet.
pub fn put_entry(out: &mut Vec<u8>, gossip: &Gossip<'_>) {
    let Flags(flags) = gossip.flags;
    out.extend_from_slice(gossip.name);
    out.extend_from_slice(&gossip.ping_sent.to_be_bytes());
    out.extend_from_slice(&gossip.pong_received.to_be_bytes());
    put_ip(out, gossip.ip);
    put16(out, &[gossip.port, gossip.bus_port, flags, gossip.other_port, 0]);
}

/// Appends an extension to those of a packet, which are one more.
pub fn put_ext(out: &mut Vec<u8>, ext: &Ext<'_>) {
    let start = out.len();
    let kind: u16 = match ext {
        Ext::Hostname(_) => 0,
        Ext::Nodename(_) => 1,
        Ext::Forgotten { .. } => 2,
        Ext::Shard(_) => 3,
    };
    out.extend_from_slice(&[0; 4]);
    put16(out, &[kind, 0]);
    match ext {
        Ext::Hostname(text) => put_text(out, text.as_bytes()),
        Ext::Nodename(text) => put_text(out, text),
        Ext::Forgotten { node, seconds } => {
            out.extend_from_slice(*node);
            out.extend_from_slice(&seconds.to_be_bytes());
        }
        Ext::Shard(name) => out.extend_from_slice(*name),
    }
    let length = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// With a zero byte behind it, filled up to a multiple of eight.
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
    let padded = (text.len() + 1).next_multiple_of(8);
    out.resize(out.len() + padded - text.len(), 0);
}
