//! The two ends of measured gRPC calls, for `benches/measures/relay.py`. Each runs on one thread and costs
//! as little as it can, so that a relay in between is what is measured.
//!
//!     rpc answer                      prints its port and serves until stdin ends
//!     rpc call --server NAME=HOST:PORT...

mod answer;
mod call;
mod messages;

use clap::Parser;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
enum Command {
    /// Serve calls
    Answer,
    /// Measure calls to several servers in turn
    Call(call::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    match Command::parse() {
        Command::Answer => answer::serve().await,
        Command::Call(options) => call::measure(options).await,
    }
}
