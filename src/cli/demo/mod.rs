//! The story that `rangegate demo` plays against itself.
//!
//! ```text
//! story (rows as data) ─▶ play (a client asks, the audit log answers) ─▶ table ─▶ stay
//!                           │
//!                         world: certificates, issuer, consoles, relay, store, and the gateway itself
//! ```

mod client;
pub mod consoles;
mod devices;
mod errands;
mod files;
mod issuer;
mod pki;
mod play;
mod relay;
mod revocation;
mod scene;
mod settings;
mod stay;
mod story;
mod table;
mod websocket;
mod world;

use super::terminal::Style;
use super::{DemoArgs, Exit, Terminal};
use crate::gateway::StartFault;
use scene::{Laptop, Way};
use std::error::Error;
use std::io;
use story::STORY;
use tokio::signal::unix::{Signal, SignalKind, signal};
use world::World;

pub fn run(args: &DemoArgs, terminal: &mut Terminal) -> Exit {
    super::log::start_quietly();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return terminal.refuse(Exit::CannotRun, &error.to_string()),
    };
    match runtime.block_on(demo(args, terminal)) {
        Ok(true) => Exit::Ok,
        Ok(false) => Exit::No,
        Err(error) => terminal.refuse(Exit::CannotRun, &explained(error.as_ref())),
    }
}

/// What a newcomer can do something about gets a help line.
fn explained(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(StartFault::Bind { .. }) => format!("{error}\n  help: `--port 0` takes a port that is free"),
        Some(StartFault::Socket { .. }) => format!("{error}\n  help: name a directory with a short path in $TMPDIR"),
        _ => error.to_string(),
    }
}

/// True: everything is as the story says.
async fn demo(args: &DemoArgs, terminal: &mut Terminal) -> Result<bool, Box<dyn Error>> {
    let mut world = World::start(args.port).await?;
    let shown = attend(&mut world, args, terminal).await;
    terminal.flush();
    world.stop();
    shown
}

async fn attend(world: &mut World, args: &DemoArgs, terminal: &mut Terminal) -> Result<bool, Box<dyn Error>> {
    // Listened to from the first row to the last word, so that none is lost in between.
    let mut interrupted = Interrupted::new()?;
    let all = tokio::select! {
        told = tell(world, terminal) => told?,
        // A story that was not heard to its end proves nothing.
        () = interrupted.heard() => return Ok(!args.once),
    };
    if !args.once {
        world.write_token(Laptop::Ann)?;
        stay::leave_open(world).await?;
        let up = format!(
            "The gateway stays up on https://{} until Ctrl-C. Lines to paste into another shell:",
            world.direct
        );
        let up = terminal.paint(Style::Good, &up);
        terminal.line(&format!("\n{up}"));
        stay::hints(world, terminal);
        terminal.flush();
        tokio::select! {
            Err(error) = stay::keep_signed_in(world) => return Err(error),
            () = interrupted.heard() => {}
        }
    }
    Ok(all)
}

/// How often a scene is played again before it counts as different.
const TRIES: usize = 2;

/// Plays every scene and checks what came of it.
async fn tell(world: &mut World, terminal: &mut Terminal) -> Result<bool, Box<dyn Error>> {
    let (address, policies) = (world.direct, world.policies.display());
    terminal.line(&format!(
        "A gateway on https://{address} with the policies in {policies}/, and real TLS clients that ask it:\n"
    ));
    table::head(terminal);
    let (mut rows, mut differing) = (0_usize, 0_usize);
    let mut relayed = None;
    for act in STORY {
        table::act(act.title, terminal);
        for scene in act.scenes {
            terminal.flush();
            let mut played = play::play(world, scene).await?;
            // A busy machine can hold an answer back for longer than a relay does. Delay is only ever added, so the
            // next try can tell.
            for _ in 0..TRIES {
                if scene.repeatable() && played.differs(scene).is_some() {
                    played = play::play(world, scene).await?;
                }
            }
            let differs = played.differs(scene);
            rows += 1;
            differing += usize::from(differs.is_some());
            table::row(scene, &played, differs.as_deref(), terminal);
            if matches!(scene.way, Way::Relay { .. }) {
                relayed = Some(played);
            }
        }
    }
    table::legend(terminal);
    terminal.line("");
    let verdict = match differing {
        0 => terminal.paint(Style::Good, &format!("All {rows} rows are as the story says.")),
        _ => terminal.paint(Style::Bad, &format!("{differing} of {rows} rows are NOT as the story says.")),
    };
    terminal.line(&verdict);
    let whole = stay::verify_log(world, terminal)?;
    if let Some(played) = relayed {
        stay::abridged(&played, terminal);
    }
    Ok(differing == 0 && whole)
}

/// Ctrl-C, or SIGTERM.
struct Interrupted {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupted {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn heard(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
