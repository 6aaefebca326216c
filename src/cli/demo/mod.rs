//! The story that `rangegate demo` plays against itself.

mod client;
pub mod consoles;
mod files;
mod issuer;
mod pki;
mod play;
mod relay;
mod story;
mod table;
mod world;

use super::{DemoArgs, Exit, Terminal};
use std::error::Error;
use story::STORY;
use world::World;

pub fn run(args: &DemoArgs, terminal: &mut Terminal) -> Exit {
    super::log::start_quietly();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let played = match runtime {
        Ok(runtime) => runtime.block_on(demo(args, terminal)),
        Err(error) => Err(error.into()),
    };
    match played {
        Ok(true) => Exit::Ok,
        Ok(false) => Exit::No,
        Err(error) => terminal.refuse(Exit::CannotRun, &error.to_string()),
    }
}

/// True: every row is as the story says.
async fn demo(args: &DemoArgs, terminal: &mut Terminal) -> Result<bool, Box<dyn Error>> {
    let world = World::start(args.port).await?;
    table::head(terminal);
    let mut all = true;
    for act in STORY {
        table::act(act.title, terminal);
        for scene in act.scenes {
            let played = play::play(&world, scene).await?;
            let differs = played.differs(scene);
            all &= differs.is_none();
            table::row(scene, &played, differs.as_deref(), terminal);
            terminal.flush();
        }
    }
    world.stop();
    Ok(all)
}
