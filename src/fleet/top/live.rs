//! The live view: draws while updates and keys come.

use super::{
    TopError,
    draw::draw,
    model::{Model, Update},
    tty::{Input, Tty},
    view::{Action, View},
};
use crate::{
    terminal::{event_line::EventLines, screen::Screen},
    worker::Exit,
};
use nix::sys::signal::Signal;
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

/// The screen is drawn at most this often because of new data. Keys have an effect at once.
const DRAW_INTERVAL: Duration = Duration::from_millis(250);

/// How many updates are applied before keys get their turn.
const UPDATES: usize = 64;

/// Runs until a key or a signal ends it.
pub(super) async fn run(
    mut updates: mpsc::Receiver<Update>,
    mut inputs: mpsc::Receiver<Input>,
    screen: Screen,
) -> Result<Exit, TopError> {
    let mut tty = Tty::enter().map_err(TopError::Terminal)?;
    let lines = EventLines::new(screen.charset);
    let (mut model, mut view) = (Model::new(), View::new());
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut last_tick, mut next_draw) = (Instant::now(), Some(Instant::now()));
    let mut batch = Vec::with_capacity(UPDATES);
    let mut is_open = true;
    loop {
        let drawing = async {
            match next_draw {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            input = inputs.recv() => {
                let action = match input {
                    Some(Input::Key(key)) => view.key(key, &model),
                    Some(Input::Resize) => Action::Draw,
                    Some(Input::Signal(Signal::SIGCONT)) => Action::Redraw,
                    Some(Input::Signal(Signal::SIGTSTP)) => {
                        tty.suspend(false).map_err(TopError::Terminal)?;
                        Action::Draw
                    }
                    Some(Input::Signal(signal)) => return Ok(Exit::Signal(signal as i32)),
                    Some(Input::Failed(error)) => return Err(TopError::Keys(error)),
                    None => Action::Quit,
                };
                match action {
                    Action::Draw => {}
                    Action::Redraw => tty.redraw().map_err(TopError::Terminal)?,
                    Action::Suspend => tty.suspend(true).map_err(TopError::Terminal)?,
                    Action::Quit => return Ok(Exit::Code(0)),
                    Action::Interrupt => return Ok(Exit::Signal(Signal::SIGINT as i32)),
                }
                next_draw = Some(Instant::now());
            }
            () = drawing => {
                next_draw = None;
                let shown = view.paused.clone();
                let drawn = tty.draw(|frame| {
                    draw(frame, shown.as_deref().unwrap_or(&model), &mut view, &screen, &lines);
                });
                drawn.map_err(TopError::Terminal)?;
            }
            _ = seconds.tick() => {
                let now = Instant::now();
                model.tick((now - last_tick).as_secs_f64());
                last_tick = now;
                next_draw = next_draw.or(Some(now));
            }
            count = updates.recv_many(&mut batch, UPDATES), if is_open => {
                is_open = count > 0;
                batch.drain(..).for_each(|update| model.apply(update));
                if view.paused.is_none() && next_draw.is_none() {
                    next_draw = Some(Instant::now() + DRAW_INTERVAL);
                }
            }
        }
    }
}
