use super::*;
use crate::event::batch::{Batch, BatchBuilder, Event};
use std::{ops::Range, thread};

fn batch(timestamps: &[i64]) -> Batch {
    let mut builder = BatchBuilder::default();
    for timestamp_ns in timestamps {
        let event =
            Event { name: b"a", correlation_id: b"", timestamp_ns: *timestamp_ns, timestamp_given: true };
        assert!(builder.push(b"", event));
    }
    builder.take()
}

fn copy(writer: &mut LineWriter, text: &str) {
    let batch = Batch::default();
    let whole = 0..text.len();
    let read = Read { buffer: text.as_bytes(), passing: &[whole], batch: &batch, starts: &[] };
    writer.copy(&read, 0, &mut || {});
    writer.published();
}

fn text(chunks: impl IntoIterator<Item = Chunk>) -> String {
    chunks.into_iter().map(|chunk| String::from_utf8(chunk.bytes).unwrap()).collect()
}

#[test]
fn each_piece_is_placed_among_the_events_of_its_read_and_of_earlier_ones() {
    let tap = LineTap::new(false);
    let (mut writer, reader) = (LineWriter::new(Arc::clone(&tap)), tap.reader());
    let buffer = b"one\n-two\n--three TELEMETRY:{} four\n-";
    // The last one is in the future.
    let batch = batch(&[5, 5, 3, 4, 90]);
    let passing = [0..4, 5..9, 11..buffer.len() - 1];
    let starts = [4, 9, 10, 17, buffer.len() - 1];
    writer.copy(&Read { buffer, passing: &passing, batch: &batch, starts: &starts }, 10, &mut || {});
    copy(&mut writer, "five\n");
    let positions: Vec<_> =
        reader.take().into_iter().flat_map(|chunk| chunk.pieces).map(|(_, position)| position).collect();
    let position = |timestamp_ns, count| Position { timestamp_ns, count };
    assert_eq!(
        positions,
        [Position::default(), position(5, 1), position(5, 3), position(5, 4), position(10, 1)]
    );
    // The second piece: before the second of the two events at 5, and before all later ones.
    let two = positions[1];
    assert_eq!([two.is_before(5, 0), two.is_before(5, 1), two.is_before(6, 0)], [false, true, true]);
    assert!(!two.is_before(4, 9));
    // The third piece: before the event at 4, which is the next one.
    let three = positions[2];
    assert_eq!([three.is_before(4, 1), three.is_reached_at(three)], [false, true]);
    assert!(!three.is_reached_at(two) && two.is_reached_at(three) && !two.is_reached_at(position(6, 9)));
}

#[test]
fn a_chunk_is_there_before_its_events_are_published() {
    let tap = LineTap::new(false);
    let (mut writer, reader) = (LineWriter::new(Arc::clone(&tap)), tap.reader());
    let batch = Batch::default();
    let read = Read { buffer: b"a\n", passing: &[Range { start: 0, end: 2 }], batch: &batch, starts: &[] };
    writer.copy(&read, 0, &mut || {});
    let number = reader.take()[0].number;
    assert!(reader.published() < number);
    writer.published();
    assert_eq!(reader.published(), number);
}

/// Numbers without a pattern that are the same in each run.
fn numbers(mut seed: u32) -> impl FnMut(usize) -> usize {
    move |below| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    }
}

#[test]
fn every_line_is_copied_or_counted_once_whatever_the_reader_does() {
    for seed in 0..8 {
        let tap = LineTap::new(false);
        let (mut writer, reader) = (LineWriter::new(Arc::clone(&tap)), tap.reader());
        let mut number = numbers(seed);
        let (mut stream, mut copied) = (String::new(), String::new());
        let mut missed = Missed::default();
        while stream.len() < 4 * MAX_BYTES {
            // A few blank lines, many short ones, and some that are longer than a read.
            let mut line = match number(100) {
                0..5 => String::new(),
                5..95 => format!("{seed} {} {}", stream.len(), "x".repeat(100)),
                _ => format!("{seed} {} {}", stream.len(), "y".repeat(300_000)),
            };
            line.push('\n');
            let mut rest = &line[..];
            while !rest.is_empty() {
                let (some, later) = rest.split_at(rest.len().min(1 + number(70_000)));
                copy(&mut writer, some);
                rest = later;
            }
            stream.push_str(&line);
            if number(40_000 / (1 + seed as usize)) == 0 {
                let chunks = reader.take();
                reader.release(chunks.iter().map(Chunk::memory).sum());
                copied += &text(chunks);
            }
            assert!(tap.lock().used <= MAX_BYTES);
        }
        writer.finish(&mut || {});
        copied += &text(reader.take());
        let last = reader.take_missed();
        missed.lines += last.lines;
        missed.cut_bytes += last.cut_bytes;
        let is_text = |line: &&str| !line.is_empty();
        let mut written = stream.lines().filter(is_text);
        let (mut lines, mut cut) = (0, 0);
        for line in copied.lines().filter(is_text) {
            let whole = written.find(|whole| whole.starts_with(line)).expect("lines in their order");
            lines += 1;
            cut += (whole.len() - line.len()) as u64;
        }
        assert!(missed.lines > 0);
        assert_eq!(lines + missed.lines, stream.lines().filter(is_text).count() as u64);
        assert_eq!(cut, missed.cut_bytes);
    }
}

#[test]
fn a_replay_waits_for_room_and_goes_on_without_a_reader() {
    let tap = LineTap::new(true);
    let (mut writer, reader) = (LineWriter::new(Arc::clone(&tap)), tap.reader());
    let line = format!("{}\n", "x".repeat(MAX_BYTES / 2));
    let copied = thread::scope(|scope| {
        let writing = scope.spawn(|| {
            (0..10).for_each(|_| copy(&mut writer, &line));
            writer.finish(&mut || {});
        });
        let mut copied = 0;
        while copied < 10 * line.len() {
            let chunks = reader.take();
            reader.release(chunks.iter().map(Chunk::memory).sum());
            copied += text(chunks).len();
            assert!(tap.lock().used <= MAX_BYTES + line.len());
        }
        writing.join().unwrap();
        copied
    });
    assert_eq!((copied, reader.take_missed()), (10 * line.len(), Missed::default()));
    thread::scope(|scope| {
        scope.spawn(|| (0..10).for_each(|_| copy(&mut writer, &line)));
        drop(reader);
    });
    assert!(tap.lock().chunks.is_empty());
}

#[test]
fn recordings_that_follow_one_another_have_no_line_in_common() {
    let tap = LineTap::new(true);
    let (mut writer, reader) = (LineWriter::new(Arc::clone(&tap)), tap.reader());
    for recording in ["a\nb", "c\n", "", "d"] {
        copy(&mut writer, recording);
        writer.finish(&mut || {});
    }
    assert_eq!(text(reader.take()), "a\nb\nc\nd\n");
}

#[test]
fn no_second_passes_between_two_reads_of_a_replay() {
    let tap = LineTap::new(true);
    let (mut writer, reader) = (LineWriter::new(Arc::clone(&tap)), tap.reader());
    for read_ns in [5, 3_600_000_000_000, 3_600_000_000_001] {
        writer.copy_raw(b"a", read_ns);
    }
    let times: Vec<_> = reader.take().iter().map(|chunk| chunk.read_ns).collect();
    assert_eq!(times, [5, 1_000_005, 2_000_005]);
}

#[tokio::test(start_paused = true)]
async fn lines_collect_for_a_tenth_of_a_second_unless_there_are_many() {
    let tap = LineTap::new(false);
    let (mut writer, mut reader) = (LineWriter::new(Arc::clone(&tap)), tap.reader());
    let start = Instant::now();
    copy(&mut writer, "a\n");
    reader.collected().await;
    assert_eq!(start.elapsed(), COLLECT);
    let chunks = reader.take();
    reader.release(chunks.iter().map(Chunk::memory).sum());
    // Nothing more: it would wait for ever.
    let timeout = tokio::time::timeout(Duration::from_secs(60), reader.collected()).await;
    assert!(timeout.is_err());
    let start = Instant::now();
    copy(&mut writer, &format!("{}\n", "x".repeat(MAX_BYTES / 2)));
    reader.collected().await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}
