//! `ganc dump --stage …`

use super::inputs::Ways;
use super::{Failure, SpecArgs, compile};
use crate::codegen::cuda::{self, Arch};
use crate::exec::Executor;
use crate::exec::cpu::{CpuExecutor, CpuOptions};
use crate::fuse::{self, FuseOptions};
use crate::graph::{Graph, text};
use crate::{passes, plan, syntax};
use clap::{Args, ValueEnum};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Syntax tree of the spec
    Ast,
    /// The program in the core language
    Model,
    /// One iteration up to the losses, without gradients
    Graph,
    /// One whole iteration as it is built
    Grad,
    /// The graph after each pass
    Passes,
    /// Clusters, and why nodes got memory of their own
    Fuse,
    /// Launch order, places in memory, work
    Plan,
    /// Kernels and launches for an NVIDIA GPU
    Cuda,
}

#[derive(Args)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Which stage
    #[arg(long, value_enum, default_value = "graph")]
    stage: Stage,
    /// Graphviz instead of text (stages graph and grad)
    #[arg(long)]
    dot: bool,
    /// Instruction set of the GPU (stage cuda)
    #[arg(long, value_enum, default_value = "sm_80")]
    target: Target,
}

/// [`Arch`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// Ampere and later
    #[value(name = "sm_80")]
    Sm80,
    /// Hopper
    #[value(name = "sm_90a")]
    Sm90a,
    /// Blackwell
    #[value(name = "sm_100a")]
    Sm100a,
}

impl From<Target> for Arch {
    fn from(t: Target) -> Self {
        match t {
            Target::Sm80 => Arch::Sm80,
            Target::Sm90a => Arch::Sm90a,
            Target::Sm100a => Arch::Sm100a,
        }
    }
}

pub(super) fn dump(args: &DumpArgs) -> Result<(), Failure> {
    if args.stage == Stage::Ast {
        return ast(&args.spec);
    }
    let front = compile::front(&args.spec)?;
    if args.stage == Stage::Model {
        super::print(&syntax::print(&front.core.to_file()));
        return Ok(());
    }
    let compiled = compile::graphs(&front)?;
    let ways = if args.stage == Stage::Plan { Some(Ways::of(&compiled, &front.sources)?) } else { None };
    for train in &compiled.trains {
        if let Some(it) = &train.start {
            super::print(&format!("; {} before the first iteration\n", train.name));
            super::print(&stage(args, &it.graph));
        }
        for it in &train.iterations {
            super::print(&format!("; {} iteration, batch {}, mask {:b}\n", train.name, train.batch, it.mask));
            super::print(&stage(args, &it.graph));
            super::print(&ways.as_ref().map_or(String::new(), |w| w.lines(train, it)));
        }
    }
    Ok(())
}

fn ast(args: &SpecArgs) -> Result<(), Failure> {
    let text = compile::read_text(&args.spec)
        .map_err(|e| Failure::Message(format!("cannot read `{}`: {e}", args.spec.display())))?;
    let mut sources = crate::source::SourceMap::default();
    let id = sources.add(&args.spec, text.as_str());
    let file = syntax::parse(id, &text).map_err(|d| compile::refused(&sources, &d))?;
    super::print(&syntax::dump(&file));
    Ok(())
}

fn stage(args: &DumpArgs, g: &Graph) -> String {
    let print = |g: &Graph| if args.dot { crate::graph::dot::dot(g) } else { text::print(g) };
    match args.stage {
        Stage::Ast | Stage::Model => String::new(),
        Stage::Graph => {
            let mut forward = g.clone();
            forward.outputs.retain(|(name, _)| name.starts_with("loss:"));
            print(&passes::dce(&forward))
        }
        Stage::Grad => print(g),
        Stage::Passes => {
            let mut out = String::new();
            passes::run_observed(g.clone(), &passes::Options::default(), &mut |pass, g| {
                out.push_str(&format!("; after {}: {} nodes\n{}", pass.name, g.nodes().len(), text::print(g)));
            });
            out
        }
        Stage::Cuda => {
            let g = passes::run(g.clone(), &passes::Options::default());
            let g = passes::layout::for_new_device(&g);
            let plan = plan::plan(&g, fuse::fuse(&g, FuseOptions::GPU), cuda::PLAN);
            let module = cuda::generate(&g, &plan, args.target.into());
            format!("{}\n{}", module.text, module.table(&g, &plan))
        }
        Stage::Fuse | Stage::Plan => {
            let mut exec = CpuExecutor::new(CpuOptions::default());
            match exec.compile(g) {
                Err(e) => format!("; {e}\n"),
                Ok(p) if args.stage == Stage::Fuse => p.plan.clusters.text(&p.graph),
                Ok(p) => p.plan.text(&p.graph, exec.plan_options()),
            }
        }
    }
}
