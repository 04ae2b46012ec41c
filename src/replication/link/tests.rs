use super::*;

const ID: &str = "0123456789012345678901234567890123456789";
const OTHER: &str = "abcdefghijabcdefghijabcdefghijabcdefghij";
const TERMS: Terms = Terms {
    user: None,
    password: None,
    port: 7,
    ip: None,
    timeout: 60,
    parser: false,
    failover: false,
    dual: false,
};

fn target() -> Target {
    Target { host: "h".into(), port: 1 }
}

fn at(offset: u64) -> Position {
    Position { replid: ID.into(), offset, db: Some(2) }
}

/// What a link says and does, in a form that is easy to compare.
struct Bench {
    link: Link,
    now: i64,
}

impl Bench {
    fn new() -> Bench {
        Bench { link: Link::default(), now: 1000 }
    }

    /// The actions of one event but what goes to the log.
    fn on<'a>(&mut self, event: Event<'a>) -> Vec<Action<'a>> {
        self.with(event, &TERMS)
    }

    fn with<'a>(&mut self, event: Event<'a>, terms: &Terms) -> Vec<Action<'a>> {
        let mut out = Vec::new();
        self.link.on(event, terms, self.now, &mut out);
        out.retain(|a| !matches!(a, Action::Say(..)));
        out
    }

    fn said(&mut self, event: Event<'_>) -> String {
        let mut out = Vec::new();
        self.link.on(event, &TERMS, self.now, &mut out);
        let line = |a| if let Action::Say(_, text) = a { Some(text) } else { None };
        out.into_iter().filter_map(line).collect::<Vec<_>>().join("|")
    }

    /// In the state behind PSYNC.
    fn asked(at: Option<Position>) -> Bench {
        let mut b = Bench::new();
        b.on(Event::Order { target: target(), at });
        b.on(Event::Begun);
        assert_eq!(b.on(Event::Connected), [Action::Send(command(&[b"PING"]))]);
        b.on(Event::Line(b"+PONG"));
        b.on(Event::Line(b"+OK"));
        b.on(Event::Line(b"+OK"));
        assert_eq!(b.link.state_name(), "handshake");
        b
    }

    /// Online behind a snapshot of three bytes.
    fn online() -> Bench {
        let mut b = Bench::asked(None);
        let line = format!("+FULLRESYNC {ID} 10");
        assert_eq!(b.on(Event::Line(line.as_bytes())), [Action::OpenFile]);
        b.on(Event::Line(b"$3"));
        assert_eq!(b.on(Event::Bulk(b"abc")), [Action::Append(b"abc".into()), Action::Load]);
        b.on(Event::Loaded { db: Some(2) });
        b
    }
}

fn text(actions: &[Action]) -> String {
    let sent = |a: &Action| match a {
        Action::Send(bytes) => {
            let words = shown(bytes).into_owned();
            words.lines().filter(|l| !l.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
        }
        a => format!("{a:?}"),
    };
    actions.iter().map(sent).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_handshake_says_what_the_configuration_has() {
    let mut b = Bench::new();
    assert_eq!(b.on(Event::Order { target: target(), at: None }), [Action::Connect(target())]);
    assert_eq!((b.link.state_name(), b.link.wants()), ("connecting", Wants::Nothing));
    b.on(Event::Begun);
    b.on(Event::Connected);
    let terms = Terms { user: Some(b"u"), password: Some(b"p"), ip: Some(b"1.2.3.4"), ..TERMS };
    let burst = b.with(Event::Line(b"-NOAUTH Authentication required."), &terms);
    let wanted =
        "AUTH u p REPLCONF listening-port 7 REPLCONF ip-address 1.2.3.4 REPLCONF capa eof capa psync2";
    assert_eq!(text(&burst), wanted);
    for answer in ["+OK", "-ERR what", "+OK"] {
        assert!(b.on(Event::Line(answer.as_bytes())).is_empty());
    }
    assert_eq!(text(&b.on(Event::Line(b"-ERR unknown"))), "PSYNC ? -1");
    assert!(b.on(Event::Line(b"")).is_empty(), "the master thinks");
}

#[test]
fn what_a_master_says_that_cannot_be_followed_waits_for_the_tick() {
    let ends = [Action::Close];
    let mut b = Bench::new();
    b.on(Event::Order { target: target(), at: None });
    b.on(Event::Connected);
    assert_eq!(b.on(Event::Line(b"-ERR nonsense")), ends);
    assert_eq!(b.on(Event::Tick), [Action::Connect(target())]);
    b.on(Event::Connected);
    b.with(Event::Line(b"+PONG"), &Terms { password: Some(b"p"), ..TERMS });
    assert_eq!(b.on(Event::Line(b"-WRONGPASS")), ends);
    assert!(b.said(Event::Refused("why")).contains("Unable to connect to MASTER: why"));
    for later in ["-NOMASTERLINK Can't SYNC", "-LOADING Redis"] {
        let mut b = Bench::asked(Some(at(5)));
        assert_eq!(b.on(Event::Line(later.as_bytes())), ends);
        assert_eq!((b.link.state_name(), b.link.cached()), ("connect", Some(&at(5))));
    }
}

#[test]
fn a_kept_position_is_continued_under_the_old_or_a_new_id() {
    let mut b = Bench::new();
    b.on(Event::Order { target: target(), at: Some(at(5)) });
    b.on(Event::Connected);
    b.on(Event::Line(b"+PONG"));
    b.on(Event::Line(b"+OK"));
    assert_eq!(text(&b.on(Event::Line(b"+OK"))), format!("PSYNC {ID} 6"));
    let attach = |p| Action::Attach { full: false, position: Some(p), ack: false };
    assert_eq!(b.on(Event::Line(b"+CONTINUE")), [attach(at(5))]);
    assert!(b.link.is_online() && b.link.cached().is_none());
    let mut b = Bench::asked(Some(at(5)));
    let line = format!("+CONTINUE {OTHER}");
    let moved = Position { replid: OTHER.into(), ..at(5) };
    assert_eq!(b.on(Event::Line(line.as_bytes())), [Action::Inherit(OTHER.into()), attach(moved)]);
    let mut b = Bench::asked(None);
    assert_eq!(b.on(Event::Line(b"+CONTINUE")), [Action::Close], "nothing can be continued");
}

#[test]
fn a_full_sync_ends_online_at_the_position_of_the_snapshot() {
    let mut b = Bench::asked(None);
    b.on(Event::Line(format!("+FULLRESYNC {ID} 10").as_bytes()));
    assert!(b.on(Event::Line(b"")).is_empty(), "a sign of life");
    assert_eq!(b.link.state_name(), "sync");
    b.on(Event::Line(b"$5"));
    assert_eq!(b.link.wants(), Wants::Bulk(5));
    b.on(Event::Bulk(b"ab"));
    assert_eq!(b.link.progress(), Some(Progress { total: 5, read: 2, last_io: 1000 }));
    assert_eq!(b.link.wants(), Wants::Bulk(3));
    assert_eq!(b.on(Event::Bulk(b"cde")).last(), Some(&Action::Load));
    assert_eq!((b.link.wants(), b.on(Event::Tick)), (Wants::Nothing, vec![Action::Newline]));
    let position = Some(Position { offset: 10, ..at(0) });
    let done = [Action::Attach { full: true, position, ack: false }];
    assert_eq!(b.on(Event::Loaded { db: Some(2) }), done);
    assert_eq!((b.link.state_name(), b.on(Event::Tick)), ("connected", vec![Action::Ack]));
}

#[test]
fn a_mark_may_arrive_in_any_pieces_and_is_no_part_of_the_file() {
    let snapshot = [b"REDIS".as_slice(), &OTHER.as_bytes()[..39], b"x"].concat();
    let all = [&snapshot, OTHER.as_bytes()].concat();
    for size in 1..=all.len() {
        let mut b = Bench::asked(None);
        b.on(Event::Line(format!("+FULLRESYNC {ID} 10").as_bytes()));
        b.on(Event::Line(format!("$EOF:{OTHER}").as_bytes()));
        let (mut file, mut whole) = (Vec::new(), 0);
        for piece in all.chunks(size) {
            for action in b.on(Event::Bulk(piece)) {
                match action {
                    Action::Append(bytes) => file.extend_from_slice(&bytes),
                    Action::Load => whole += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_eq!((&file, whole), (&snapshot, 1), "in pieces of {size}");
        let done = b.on(Event::Loaded { db: None });
        assert!(matches!(&done[..], [Action::Attach { full: true, ack: true, .. }]));
    }
}

#[test]
fn a_transfer_that_fails_begins_again_at_once() {
    let again = [Action::Close, Action::DropFile, Action::Connect(target())];
    for (line, event) in [
        ("", Event::Line(b"-ERR no")),
        ("", Event::Line(b"hello")),
        ("", Event::Line(b"$-5")),
        ("", Event::Line(b"$EOF:short")),
        ("", Event::Closed("gone")),
        ("$9", Event::Closed("gone")),
    ] {
        let mut b = Bench::asked(Some(at(5)));
        b.on(Event::Line(format!("+FULLRESYNC {ID} 10").as_bytes()));
        if !line.is_empty() {
            b.on(Event::Line(line.as_bytes()));
        }
        assert_eq!(b.on(event), again);
        assert_eq!(b.link.cached(), Some(&at(5)), "the data have not been touched");
    }
}

/// A transfer that has begun, of four bytes.
fn begin_transfer(b: &mut Bench) {
    b.on(Event::Connected);
    b.on(Event::Line(b"+PONG"));
    b.on(Event::Line(b"+OK"));
    b.on(Event::Line(b"+OK"));
    b.on(Event::Line(format!("+FULLRESYNC {ID} 10").as_bytes()));
    b.on(Event::Line(b"$4"));
}

#[test]
fn a_snapshot_that_fails_again_and_again_is_asked_for_ever_more_seldom() {
    let mut b = Bench::new();
    b.on(Event::Order { target: target(), at: None });
    let connects = |actions: Vec<Action>| actions.contains(&Action::Connect(target()));
    for rest in [0, 1, 2, 4, 8, 16, 30, 30] {
        begin_transfer(&mut b);
        b.on(Event::Bulk(b"text"));
        assert_eq!(connects(b.on(Event::LoadFailed { cut: false })), rest == 0);
        if rest > 0 {
            b.now += rest - 1;
            assert!(b.on(Event::Tick).is_empty(), "{rest} seconds are not over");
            b.now += 1;
            assert!(connects(b.on(Event::Tick)), "after {rest} seconds");
        }
    }
    begin_transfer(&mut b);
    let said = b.said(Event::Closed("gone"));
    assert!(said.contains("has failed 9 times in a row, the last time because the connection was lost"));
    assert!(said.contains("in 30 seconds"));
    let order = Event::Order { target: target(), at: None };
    assert!(connects(b.on(order)), "an order does not wait");
    for _ in 0..20 {
        begin_transfer(&mut b);
        b.on(Event::Bulk(b"te"));
        assert!(connects(b.on(Event::Closed("gone"))), "what made progress is tried again at once");
    }
    begin_transfer(&mut b);
    assert!(!connects(b.on(Event::FileFailed)), "a full disk is full the next time, too");
    b.now += 30;
    assert!(connects(b.on(Event::Tick)));
    begin_transfer(&mut b);
    b.on(Event::Bulk(b"text"));
    b.on(Event::Loaded { db: None });
    b.on(Event::Lost(None));
    begin_transfer(&mut b);
    assert!(connects(b.on(Event::FileFailed)), "a sync that has ended well is the end of the row");
}

#[test]
fn silence_ends_every_state_after_the_timeout() {
    let mut b = Bench::asked(None);
    b.now += 60;
    assert!(b.on(Event::Tick).is_empty());
    b.now += 1;
    assert_eq!(b.on(Event::Tick), [Action::Close, Action::Connect(target())]);
    let mut b = Bench::asked(None);
    b.on(Event::Line(format!("+FULLRESYNC {ID} 10").as_bytes()));
    b.now += 61;
    assert_eq!(b.on(Event::Tick), [Action::Close, Action::DropFile, Action::Connect(target())]);
    let mut b = Bench::online();
    b.now += 60;
    assert_eq!(b.on(Event::Tick), [Action::Ack]);
    b.link.heard(b.now);
    b.now += 60;
    assert_eq!(b.on(Event::Tick), [Action::Ack]);
    b.now += 1;
    assert_eq!(b.on(Event::Tick), [Action::Detach]);
}

#[test]
fn a_lost_client_leaves_its_position_and_is_replaced_at_once() {
    let mut b = Bench::online();
    assert_eq!(b.on(Event::Lost(Some(at(20)))), [Action::Connect(target())]);
    assert_eq!((b.link.cached(), b.link.down_since()), (Some(&at(20)), 1000));
    let mut b = Bench::online();
    b.on(Event::Lost(None));
    assert_eq!(b.link.cached(), None, "behind a protocol error nothing is continued");
}

#[test]
fn orders_end_what_is_under_way() {
    let other = Target { port: 2, ..target() };
    let mut b = Bench::online();
    let order = Event::Order { target: other.clone(), at: Some(at(20)) };
    assert_eq!(b.on(order), [Action::Detach, Action::Connect(other.clone())]);
    assert_eq!(b.link.cached(), Some(&at(20)));
    let order = Event::Order { target: target(), at: None };
    assert_eq!(b.on(order), [Action::Close, Action::Connect(target())]);
    assert_eq!(b.link.cached(), Some(&at(20)), "the data still stand there");
    assert_eq!(b.on(Event::Release), [Action::Close]);
    assert_eq!((b.link.is_on(), b.link.cached(), b.link.state_name()), (false, None, "none"));
    assert!(b.on(Event::Tick).is_empty());
    let mut b = Bench::online();
    assert_eq!(b.on(Event::Release), [Action::Detach]);
}

#[test]
fn a_master_without_positions_is_followed_without_acknowledgements() {
    for answer in ["-ERR unknown command", "what", "+FULLRESYNC", "+FULLRESYNC short 5"] {
        let mut b = Bench::asked(Some(at(5)));
        b.on(Event::Line(answer.as_bytes()));
        b.on(Event::Line(b"$1"));
        assert_eq!(b.on(Event::Bulk(b"x")).last(), Some(&Action::Load));
        let mut out = Vec::new();
        b.link.begins_to_load(&mut out);
        let done = b.on(Event::Loaded { db: None });
        assert_eq!(done, [Action::Attach { full: true, position: None, ack: false }], "{answer}");
        assert!(b.link.is_silent() && b.on(Event::Tick).is_empty());
    }
}

#[test]
fn any_line_and_any_close_in_any_state_is_survived() {
    let mut rng = crate::algo::rng::Rng::seeded(5);
    let full = format!("+FULLRESYNC {ID} 10");
    let mark = format!("$EOF:{OTHER}");
    let end = format!("$ENDOFF:10 {ID} 0 5");
    let lines: [&[u8]; 14] = [
        b"+DUALCHANNELSYNC",
        end.as_bytes(),
        b"",
        b"+PONG",
        b"+OK",
        b"-ERR x",
        full.as_bytes(),
        b"+CONTINUE",
        b"$0",
        b"$3",
        mark.as_bytes(),
        b"$99999999999999999999",
        b"\xff\xfe",
        b"-LOADING",
    ];
    for _ in 0..2000 {
        let mut b = Bench::new();
        let terms = Terms { dual: rng.below(2) == 0, ..TERMS };
        b.on(Event::Order { target: target(), at: (rng.below(2) == 0).then(|| at(5)) });
        for _ in 0..40 {
            match rng.below(9) {
                0..2 => drop(b.with(Event::Connected, &terms)),
                2 if rng.below(3) == 0 => drop(b.on(Event::Closed("gone"))),
                3 => {
                    b.now += 40;
                    b.on(Event::Tick);
                }
                4 if b.link.wants_main() == Wants::Line => {
                    drop(b.on(Event::Main(lines[rng.below(14) as usize])));
                }
                5 if rng.below(3) == 0 => drop(b.on(Event::MainClosed("gone"))),
                _ => match b.link.wants() {
                    Wants::Line => {
                        drop(b.with(Event::Line(lines[rng.below(14) as usize]), &terms));
                    }
                    Wants::Bulk(n) => drop(b.on(Event::Bulk(&OTHER.as_bytes()[..n.min(13)]))),
                    Wants::Nothing if b.link.is_online() => drop(b.on(Event::Lost(Some(at(7))))),
                    Wants::Nothing if b.link.loads() => {
                        b.link.begins_to_load(&mut Vec::new());
                        b.on(Event::Loaded { db: None });
                    }
                    Wants::Nothing | Wants::Stream => {}
                },
            }
        }
    }
}

#[test]
fn a_snapshot_for_the_loader_fails_and_ends_where_the_loader_says() {
    let terms = Terms { parser: true, ..TERMS };
    let begin = |line: &str| {
        let mut b = Bench::asked(Some(at(5)));
        let full = format!("+FULLRESYNC {ID} 10");
        assert!(b.with(Event::Line(full.as_bytes()), &terms).is_empty(), "no file");
        let total = if line == "$3" { 3 } else { 0 };
        assert_eq!(
            b.on(Event::Line(line.as_bytes())),
            [Action::Parse { replid: Some(ID.into()), total }]
        );
        b
    };
    let mut b = begin("$3");
    let whole = Action::EndOfSnapshot { whole: true };
    assert_eq!(b.on(Event::Bulk(b"abc")), [Action::Append(b"abc".into()), whole]);
    assert_eq!(b.on(Event::Tick), [Action::Newline]);
    b.link.begins_to_load(&mut Vec::new());
    assert!(matches!(b.on(Event::Loaded { db: None })[..], [Action::Attach { full: true, .. }]));
    let mut b = begin(&format!("$EOF:{OTHER}"));
    b.on(Event::Bulk(b"REDIS"));
    assert_eq!(b.on(Event::Closed("gone")), [Action::EndOfSnapshot { whole: false }]);
    assert_eq!(
        b.said(Event::LoadFailed { cut: true }).split('|').next().map(|s| s.contains("from socket")),
        Some(true)
    );
    assert_eq!((b.link.state_name(), b.link.cached()), ("connecting", Some(&at(5))));
    let mut b = begin("$3");
    b.now += 61;
    assert_eq!(b.on(Event::Tick), [Action::Close, Action::DropFile, Action::Connect(target())]);
}
