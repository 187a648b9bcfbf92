//! The `ganc` command.

fn main() {
    std::process::exit(ganc::cli::main(std::env::args_os()));
}
