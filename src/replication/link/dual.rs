//! A full sync by two connections, as Valkey 8 has it (dual channel): the snapshot comes by a second one,
//! and the stream behind it comes by the first one at the same time.
//!
//! ```text
//! machine         main channel                                second connection
//! Psync           +DUALCHANNELSYNC ─► parked                  ─► connect
//! Channel         Waits                                       REPLCONF rdb-channel 1 ─ SYNC ─► $ENDOFF
//! Size, Transfer  Named     REPLCONF set-rdb-client-id        the snapshot, as that of any full sync
//!                 Asked     PSYNC id offset+1
//! Loading         Streams   kept (`held`) until the end       done
//! Waiting         the snapshot is the dataset before the main channel has got its answer
//! Online          a client reads what was kept, and then the main channel
//! ```
//!
//! To the machine the second connection is the one it talks to; the main channel is looked after here. What
//! $ENDOFF says is where the snapshot ends in the stream: the main channel goes on from there.
//!
//! - Whatever fails before the main channel streams ends both connections. A handshake that failed makes the
//!   next try a plain one: behind a balancer or a firewall the second connection may never do.
//! - A main channel that ends while it streams ends a snapshot that is still on its way: begun anew it costs
//!   no more than what has come of it. One that is all here is loaded, what was kept of the stream is
//!   applied, and then the client finds the end and the link goes on from there.
//! - The dataset is never half of anything: behind a loaded snapshot its position is known, whatever
//!   becomes of the main channel.

use super::{Action, Answer, Link, Out, Position, State, Terms, Wants, command, is_id, say, shown};
use crate::algo::num::parse_i64;
use crate::sys::log::Level::{Notice, Warning};
use std::collections::VecDeque;

/// What the second connection is about, before the snapshot.
#[derive(Debug)]
pub(super) enum Channel {
    Connecting,
    Answers(VecDeque<Answer>),
    /// Where the snapshot ends is still to be said.
    End,
}

/// How far the main channel is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum MainState {
    /// For the end of the snapshot to be known.
    #[default]
    Waits,
    /// It has said which snapshot it belongs to.
    Named,
    Asked,
    Streams,
}

#[derive(Debug, Default)]
pub(super) struct Dual {
    main: MainState,
    /// Where the snapshot ends.
    at: Option<Position>,
}

/// The position of `$ENDOFF:<offset> <replid> <db> <client>`, and the number of the client that gets the
/// snapshot.
fn end_of_snapshot(line: &[u8]) -> Option<(Position, u64)> {
    let rest = line.strip_prefix(b"$ENDOFF:")?;
    let words: Vec<&[u8]> = rest.split(|b| *b == b' ').collect();
    let [offset, replid, db, client] = words[..] else { return None };
    let number = |w: &[u8]| u64::try_from(parse_i64(w)?).ok();
    if !is_id(replid) {
        return None;
    }
    let replid = shown(replid).into_owned();
    let db = usize::try_from(number(db)?).ok();
    Some((Position { replid, offset: number(offset)?, db }, number(client)?))
}

impl Link {
    /// What the machine takes of the bytes of the main channel.
    pub fn wants_main(&self) -> Wants {
        match self.dual.as_ref().map(|d| d.main) {
            None | Some(MainState::Waits) => Wants::Nothing,
            Some(MainState::Named | MainState::Asked) => Wants::Line,
            Some(MainState::Streams) => Wants::Stream,
        }
    }

    pub(super) fn begin_dual(&mut self, now: i64, out: Out<'_, '_>) {
        let Some(target) = self.target.clone() else { return };
        say(out, Notice, "PSYNC is not possible, initialize RDB channel.");
        self.dual = Some(Dual::default());
        (self.state, self.last_io) = (State::Channel(Channel::Connecting), now);
        out.push(Action::Park);
        out.push(Action::Connect(target));
    }

    /// Ends both connections. The next try, at the next tick, is a plain one.
    pub(super) fn fail_dual(&mut self, out: Out<'_, '_>) {
        say(out, Notice, "Aborting dual channel sync");
        self.plain_next = true;
        self.give_up(out);
    }

    // ---- the second connection ---------------------------------------------------------------------

    pub(super) fn channel_connected(&mut self, terms: &Terms, out: Out<'_, '_>) {
        let (mut answers, mut bytes) = (VecDeque::new(), Vec::new());
        super::log_in(terms, &mut answers, &mut bytes);
        let port = terms.port.to_string();
        let words: [&[u8]; 9] = [
            b"REPLCONF",
            b"capa",
            b"eof",
            b"rdb-only",
            b"1",
            b"rdb-channel",
            b"1",
            b"listening-port",
            port.as_bytes(),
        ];
        answers.push_back(Answer::Option("rdb-channel"));
        bytes.extend(command(&words));
        out.push(Action::Send(bytes));
        self.state = State::Channel(Channel::Answers(answers));
    }

    pub(super) fn channel_line(&mut self, line: &[u8], terms: &Terms, out: Out<'_, '_>) {
        let State::Channel(channel) = &mut self.state else { return };
        match channel {
            Channel::Connecting => debug_assert!(false, "no line was wanted"),
            Channel::Answers(answers) => {
                let answer = answers.pop_front();
                if line.starts_with(b"-") {
                    let text = shown(line);
                    match answer {
                        Some(Answer::Auth) => {
                            say(out, Warning, format!("Unable to AUTH to MASTER: {text}"))
                        }
                        _ => say(
                            out,
                            Notice,
                            format!(
                                "Server does not support sync with offset, dual channel sync approach \
                                 cannot be used: {text}"
                            ),
                        ),
                    }
                    return self.fail_dual(out);
                }
                if answers.is_empty() {
                    *channel = Channel::End;
                    out.push(Action::Send(command(&[b"SYNC"])));
                }
            }
            // A sign of life.
            Channel::End if line.is_empty() => {}
            Channel::End => {
                let Some((at, client)) = end_of_snapshot(line) else {
                    let text = shown(line);
                    say(out, Warning, format!("Received unexpected $ENDOFF response: {text}"));
                    return self.fail_dual(out);
                };
                let client = client.to_string();
                let words: [&[u8]; 3] = [b"REPLCONF", b"set-rdb-client-id", client.as_bytes()];
                let origin = Some((at.replid.clone(), at.offset));
                self.dual = Some(Dual { main: MainState::Named, at: Some(at) });
                self.receive(origin, terms, out);
                out.push(Action::SendMain(command(&words)));
            }
        }
    }

    pub(super) fn channel_closed(&mut self, why: &str, out: Out<'_, '_>) {
        say(out, Warning, format!("Error condition on socket for dual channel replication: {why}"));
        self.fail_dual(out);
    }

    // ---- the main channel --------------------------------------------------------------------------

    pub(super) fn main_line(&mut self, line: &[u8], now: i64, out: Out<'_, '_>) {
        let Some(Dual { main, at: Some(at) }) = &mut self.dual else { return };
        match main {
            MainState::Named if line.starts_with(b"-") => {
                let text = shown(line);
                say(out, Notice, format!("Master does not understand REPLCONF identify: {text}"));
                self.main_failed(out);
            }
            MainState::Named => {
                let (id, next) = (at.replid.clone(), at.offset.saturating_add(1).to_string());
                let words: [&[u8]; 3] = [b"PSYNC", id.as_bytes(), next.as_bytes()];
                out.push(Action::SendMain(command(&words)));
                *main = MainState::Asked;
                let text = "Trying a partial resynchronization using main channel (request";
                say(out, Notice, format!("{text} {id}:{next})."));
            }
            MainState::Asked if line.is_empty() => {}
            MainState::Asked => match line.strip_prefix(b"+CONTINUE") {
                Some(rest) => {
                    *main = MainState::Streams;
                    let id = rest.strip_prefix(b" ").unwrap_or_default();
                    if is_id(id) {
                        at.replid = shown(id).into_owned();
                    }
                    self.main_streams(now, out);
                }
                None => {
                    let text = shown(line);
                    say(
                        out,
                        Warning,
                        format!("Aborting dual channel sync. Main channel psync result {text}"),
                    );
                    self.main_failed(out);
                }
            },
            MainState::Waits | MainState::Streams => debug_assert!(false, "no line was wanted"),
        }
    }

    pub(super) fn main_closed(&mut self, why: &str, now: i64, out: Out<'_, '_>) {
        let Some(streams) = self.dual.as_ref().map(|d| d.main == MainState::Streams) else { return };
        if streams && !matches!(self.state, State::Size { .. } | State::Transfer(_)) {
            return;
        }
        say(out, Notice, format!("Main channel of dual channel sync lost: {why}"));
        if !streams {
            return self.main_failed(out);
        }
        let progress = self.has_read();
        self.give_up(out);
        self.again("its main channel was lost", progress, now, out);
    }

    /// Behind a loaded snapshot the position is kept, and gone on from.
    fn main_failed(&mut self, out: Out<'_, '_>) {
        match self.state {
            State::Waiting(_) => self.give_up(out),
            _ => self.fail_dual(out),
        }
    }

    fn main_streams(&mut self, now: i64, out: Out<'_, '_>) {
        let text = "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization";
        let State::Waiting(position) = &self.state else {
            return say(out, Notice, format!("{text}, RDB load in background."));
        };
        say(out, Notice, format!("{text}."));
        let mut position = position.clone();
        let replid = self.dual.as_ref().and_then(|d| d.at.as_ref()).map(|at| at.replid.clone());
        if let Some(id) = replid.filter(|id| *id != position.replid) {
            position.replid.clone_from(&id);
            out.push(Action::Inherit(id));
        }
        self.two_are_one(false, position, now, out);
    }

    /// The snapshot is the dataset; this database was selected behind it.
    pub(super) fn dual_loaded(&mut self, db: Option<usize>, now: i64, out: Out<'_, '_>) {
        let Some(Dual { main, at: Some(at) }) = &self.dual else { return };
        let position = Position { db: db.or(at.db), ..at.clone() };
        if *main == MainState::Streams {
            return self.two_are_one(true, position, now, out);
        }
        (self.state, self.last_io) = (State::Waiting(position.clone()), now);
        out.push(Action::Rebase(position));
    }

    /// The main channel is the link.
    fn two_are_one(&mut self, full: bool, position: Position, now: i64, out: Out<'_, '_>) {
        self.dual = None;
        (self.state, self.down_since) = (State::Online { silent: false }, 0);
        self.heard(now);
        self.backoff.reset();
        out.push(Action::Attach { full, position: Some(position), ack: true });
        say(out, Notice, "MASTER <-> REPLICA sync: Finished with success");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Event, Target};
    use super::*;

    const ID: &str = "0123456789012345678901234567890123456789";
    const TERMS: Terms = Terms {
        user: None,
        password: None,
        port: 7,
        ip: None,
        timeout: 60,
        parser: false,
        failover: false,
        dual: true,
    };

    fn target() -> Target {
        Target { host: "h".into(), port: 1 }
    }

    fn at(offset: u64) -> Position {
        Position { replid: ID.into(), offset, db: Some(3) }
    }

    fn on<'a>(link: &mut Link, event: Event<'a>) -> Vec<Action<'a>> {
        let mut out = Vec::new();
        link.on(event, &TERMS, 1000, &mut out);
        out.retain(|a| !matches!(a, Action::Say(..)));
        out
    }

    fn sends(actions: &[Action]) -> String {
        let text = |bytes: &[u8]| {
            let words = shown(bytes).into_owned();
            words.lines().filter(|l| !l.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
        };
        let one = |a: &Action| match a {
            Action::Send(bytes) => text(bytes),
            Action::SendMain(bytes) => format!("main: {}", text(bytes)),
            a => format!("{a:?}"),
        };
        actions.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// In front of the second connection.
    fn parked() -> Link {
        let mut link = Link::default();
        on(&mut link, Event::Order { target: target(), at: Some(at(5)) });
        on(&mut link, Event::Connected);
        let burst = sends(&on(&mut link, Event::Line(b"+PONG")));
        assert!(burst.ends_with("capa eof capa psync2 capa dual-channel"), "{burst}");
        on(&mut link, Event::Line(b"+OK"));
        on(&mut link, Event::Line(b"+OK"));
        let parks = on(&mut link, Event::Line(b"+DUALCHANNELSYNC"));
        assert_eq!(parks, [Action::Park, Action::Connect(target())]);
        assert_eq!((link.state_name(), link.is_connecting()), ("handshake", true));
        link
    }

    /// The end of the snapshot is known.
    fn ended() -> Link {
        let mut link = parked();
        on(&mut link, Event::Begun);
        let burst = sends(&on(&mut link, Event::Connected));
        assert_eq!(burst, "REPLCONF capa eof rdb-only 1 rdb-channel 1 listening-port 7");
        assert_eq!(sends(&on(&mut link, Event::Line(b"+OK"))), "SYNC");
        assert!(on(&mut link, Event::Line(b"")).is_empty());
        let line = format!("$ENDOFF:10 {ID} 3 77");
        let named = on(&mut link, Event::Line(line.as_bytes()));
        assert_eq!(sends(&named), "OpenFile; main: REPLCONF set-rdb-client-id 77");
        assert_eq!((link.wants_main(), link.state_name()), (Wants::Line, "sync"));
        link
    }

    fn streams() -> Link {
        let mut link = ended();
        assert_eq!(sends(&on(&mut link, Event::Main(b"+OK"))), format!("main: PSYNC {ID} 11"));
        assert!(on(&mut link, Event::Main(b"+CONTINUE")).is_empty());
        assert_eq!(link.wants_main(), Wants::Stream);
        link
    }

    fn loads(link: &mut Link) {
        on(link, Event::Line(b"$3"));
        assert_eq!(on(link, Event::Bulk(b"abc")).last(), Some(&Action::Load));
        link.begins_to_load(&mut Vec::new());
    }

    #[test]
    fn the_stream_waits_for_the_snapshot_and_the_snapshot_for_the_stream() {
        let mut link = streams();
        loads(&mut link);
        assert!(on(&mut link, Event::MainClosed("gone")).is_empty(), "the client will find it");
        let attach = |full| Action::Attach { full, position: Some(at(10)), ack: true };
        let mut out = Vec::new();
        link.on(Event::Loaded { db: None }, &TERMS, 1050, &mut out);
        assert_eq!(out.first(), Some(&attach(true)));
        assert_eq!(link.silence(1050), Some(0), "the data are fresh");
        assert!(link.is_online() && link.wants_main() == Wants::Nothing);
        // The snapshot is there first.
        let mut link = ended();
        loads(&mut link);
        let rebased = on(&mut link, Event::Loaded { db: Some(3) });
        assert_eq!((rebased, link.state_name()), (vec![Action::Rebase(at(10))], "sync"));
        assert!(on(&mut link, Event::Closed("the snapshot is across")).is_empty());
        on(&mut link, Event::Main(b"+OK"));
        assert_eq!(on(&mut link, Event::Main(b"+CONTINUE")), [attach(false)]);
        assert!(link.is_online());
    }

    #[test]
    fn a_main_channel_that_fails_behind_the_snapshot_costs_no_other_snapshot() {
        let mut link = ended();
        loads(&mut link);
        on(&mut link, Event::Loaded { db: Some(3) });
        let ends = [Action::Close, Action::CloseMain];
        assert_eq!(on(&mut link, Event::MainClosed("gone")), ends);
        assert_eq!((link.state_name(), link.cached()), ("connect", Some(&at(10))));
    }

    #[test]
    fn what_fails_ends_both_connections_and_the_next_try_is_plain() {
        let ends = vec![Action::Close, Action::CloseMain];
        let dropped = vec![Action::Close, Action::DropFile, Action::CloseMain];
        let cases: [(fn() -> Link, Event, &Vec<Action>); 9] = [
            (parked, Event::Refused("no"), &ends),
            (parked, Event::Closed("refused"), &ends),
            (parked, Event::MainClosed("gone"), &ends),
            (ended, Event::Main(b"-ERR Unrecognized RDB client id 77"), &dropped),
            (ended, Event::MainClosed("gone"), &dropped),
            (
                || {
                    let mut link = ended();
                    on(&mut link, Event::Main(b"+OK"));
                    link
                },
                Event::Main(b"+FULLRESYNC x 1"),
                &dropped,
            ),
            (
                || {
                    let mut link = parked();
                    on(&mut link, Event::Connected);
                    link
                },
                Event::Line(b"-ERR Unrecognized REPLCONF option: rdb-channel"),
                &ends,
            ),
            (
                || {
                    let mut link = parked();
                    on(&mut link, Event::Connected);
                    on(&mut link, Event::Line(b"+OK"));
                    link
                },
                Event::Line(b"$ENDOFF:1 short 0 1"),
                &ends,
            ),
            (
                || {
                    let mut link = parked();
                    on(&mut link, Event::Connected);
                    on(&mut link, Event::Line(b"+OK"));
                    link
                },
                Event::Closed("gone"),
                &ends,
            ),
        ];
        for (n, (state, event, wanted)) in cases.into_iter().enumerate() {
            let mut link = state();
            assert_eq!(&on(&mut link, event), wanted, "case {n}");
            assert_eq!((link.state_name(), link.cached()), ("connect", Some(&at(5))), "case {n}");
            on(&mut link, Event::Tick);
            on(&mut link, Event::Connected);
            let burst = sends(&on(&mut link, Event::Line(b"+PONG")));
            assert!(burst.ends_with("capa eof capa psync2"), "{burst}");
        }
    }

    #[test]
    fn a_snapshot_that_is_cut_and_orders_end_both_connections() {
        let again = [Action::Close, Action::DropFile, Action::CloseMain, Action::Connect(target())];
        for cut in [Event::Closed("cut"), Event::MainClosed("cut")] {
            let mut link = streams();
            assert_eq!(on(&mut link, cut), again);
        }
        let mut link = streams();
        loads(&mut link);
        assert_eq!(on(&mut link, Event::LoadFailed { cut: false }), again);
        assert_eq!(link.cached(), None, "the data have gone");
        for begin in [parked, ended, streams] {
            let mut link = begin();
            let order = on(&mut link, Event::Order { target: target(), at: None });
            assert_eq!(order.last(), Some(&Action::Connect(target())));
            assert!(order.contains(&Action::Close) && order.contains(&Action::CloseMain));
            let mut link = begin();
            assert!(on(&mut link, Event::Release).contains(&Action::CloseMain));
            assert_eq!((link.wants(), link.wants_main()), (Wants::Nothing, Wants::Nothing));
        }
        let mut link = parked();
        let mut out = Vec::new();
        link.on(Event::Tick, &TERMS, 1061, &mut out);
        assert!(out.contains(&Action::CloseMain), "silence ends it");
    }
}
