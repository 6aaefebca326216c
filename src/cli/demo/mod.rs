//! The story that `rangegate demo` plays against itself.
//!
//! ```text
//! story (rows as data) ─▶ play (a client asks, the audit log answers) ─▶ table ─▶ stay
//!                           │
//!                         world: certificates, issuer, consoles, relay, and the gateway itself
//! ```

mod client;
pub mod consoles;
mod files;
mod issuer;
mod pki;
mod play;
mod relay;
mod scene;
mod settings;
mod stay;
mod story;
mod table;
mod world;

use super::terminal::Style;
use super::{DemoArgs, Exit, Terminal};
use crate::gateway::StartFault;
use scene::{Laptop, Way};
use std::error::Error;
use std::future::Future;
use story::STORY;
use tokio::signal::unix::{SignalKind, signal};
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

/// The one fault a newcomer can do something about gets a help line.
fn explained(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref() {
        Some(StartFault::Bind { .. }) => format!("{error}\n  help: `--port 0` takes a port that is free"),
        _ => error.to_string(),
    }
}

/// True: everything is as the story says.
async fn demo(args: &DemoArgs, terminal: &mut Terminal) -> Result<bool, Box<dyn Error>> {
    let world = World::start(args.port).await?;
    let shown = attend(&world, args, terminal).await;
    terminal.flush();
    world.stop();
    shown
}

async fn attend(world: &World, args: &DemoArgs, terminal: &mut Terminal) -> Result<bool, Box<dyn Error>> {
    let Some(played) = unless_interrupted(tell(world, terminal)).await? else { return Ok(true) };
    let all = played?;
    if !args.once {
        world.write_token(Laptop::Ann)?;
        let up = format!(
            "The gateway stays up on https://{} until Ctrl-C. Lines to paste into another shell:",
            world.direct
        );
        let up = terminal.paint(Style::Good, &up);
        terminal.line(&format!("\n{up}"));
        stay::hints(world, terminal);
        terminal.flush();
        stay::until_interrupted(world).await?;
    }
    Ok(all)
}

/// How often a scene is played again before it counts as different.
const TRIES: usize = 2;

/// Plays every scene and checks what came of it.
async fn tell(world: &World, terminal: &mut Terminal) -> Result<bool, Box<dyn Error>> {
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
                if played.differs(scene).is_some() {
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
    // The last row's laptop is found again.
    world.report(Laptop::Bob, "active")?;
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

/// What the work gives, or none when somebody wants to end it first.
async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<Option<T>, Box<dyn Error>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => Ok(Some(done)),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
    }
}
