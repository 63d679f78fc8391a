//! The thread that reads the worker's stderr, writes its own, publishes events and, most of the time, serves
//! gRPC.

use super::{
    ending::Stages,
    observing::Reports,
    session::{Finished, Session},
    summary::{Plan, Printed},
};
use crate::{
    pipeline::{
        Pipeline,
        live::{self, Channel},
        publisher::Dropping,
        wake::Wake,
    },
    status::text,
    upstream::Upstream,
    worker::state::WorkerState,
};
use std::{
    future::pending,
    io::{self, IsTerminal as _},
    os::fd::OwnedFd,
    sync::Arc,
};

/// What the reading thread needs.
pub(super) struct Reading {
    pub(super) pipeline: Pipeline<Dropping, io::Stderr>,
    pub(super) session: Session,
    pub(super) stderr: OwnedFd,
    pub(super) channel: Channel,
    pub(super) wake: Arc<Wake>,
    pub(super) stages: Stages,
    pub(super) plan: Plan,
    pub(super) reports: Reports,
    pub(super) upstream: Option<Arc<Upstream>>,
    pub(super) worker: Arc<WorkerState>,
    pub(super) is_quiet: bool,
    /// Whether lines that are no events are reported without a terminal, too.
    pub(super) reports_rejected: bool,
    pub(super) is_logging: bool,
}

impl Reading {
    /// Reads until the worker has ended and everything is delivered, or the time for that is over.
    pub(super) fn run(mut self) {
        self.reports.publish_start();
        live::feed(&self.stderr, &mut self.channel, &self.wake, &mut self.pipeline, &mut self.session.driver);
        self.finish();
    }

    /// It is not inlined: while the worker runs its frame would only take memory.
    #[inline(never)]
    fn finish(self) {
        let Self { mut pipeline, session, channel, stages, plan, reports, upstream, worker, .. } = self;
        let Self { is_quiet, reports_rejected, is_logging, .. } = self;
        let Stages { passed, finished } = stages;
        // The main thread looks whether another process still has the worker's end.
        drop(channel);
        drop(passed);
        let last_bytes = pipeline.take_last_bytes();
        let mut end = session.finish(|_| reports.publish_end(last_bytes), || pipeline.print_log());
        let unwritten = pipeline.loss().map(|loss| format!("stderr: {loss}"));
        end.losses.splice(..0, unwritten);
        // Without a worker there is nothing to summarize.
        let printed = worker.pid().map(|_| plan.carry_out(Some(worker.program()), &end));
        let Printed { text, error } = printed.unwrap_or_default();
        let account = if is_logging { end.account() } else { Vec::new() };
        let Finished { losses, driver, .. } = end;
        let losses = losses.into_iter().filter(|_| !is_quiet || text.is_some());
        // A message for people goes to a terminal only.
        let is_watched = !is_quiet && io::stderr().is_terminal();
        let rejected = text::rejected(pipeline.stats()).filter(|_| is_watched || reports_rejected);
        // Without it the pool has stopped the worker, or soon will, and does not say why. The log has it.
        let has_run = worker.pid().is_some() && !is_logging;
        let missing = upstream.filter(|_| has_run).and_then(|upstream| upstream.missing_port());
        let lines: Vec<_> =
            error.into_iter().chain(losses).chain(rejected).chain(missing).chain(account).collect();
        if let Some(text) = &text {
            pipeline.print_text(text);
        }
        if !lines.is_empty() {
            pipeline.print_last(lines);
        }
        drop(finished);
        // Clients stay connected until the process exits, those of a pool for longer than a moment.
        driver.block_on(pending::<()>());
    }
}
