//! The compiler as a process: what it makes is what the host would make, each of its limits ends it and is named, and whatever it does
//! the host waits no longer than it said. This program is its own compiler, which is why it has a `main` of its own.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tidemill_runtime::testing::{bombs, threshold_rule};
use tidemill_runtime::{CompileLimits, Compiler, CompilerProcess, Refused, Runtime, RuntimeSettings, ShapeLimits, compile_one};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse().expect("a number");
    match arguments.first().map(String::as_str) {
        Some("compile") => compile_one(number(1), number(2)).expect("a compiler"),
        // What a compiler could do that was taken over.
        Some("sleep") => std::thread::sleep(Duration::from_secs(600)),
        Some("boast") => boast(),
        _ => tests(),
    }
}

fn tests() {
    let tests: [(&str, fn()); 8] = [
        ("an_honest_component_is_compiled_as_by_the_host", an_honest_component_is_compiled_as_by_the_host),
        ("a_broken_one_is_refused_with_the_compilers_words", a_broken_one_is_refused_with_the_compilers_words),
        ("too_much_time_is_cut_and_named", too_much_time_is_cut_and_named),
        ("too_much_memory_is_cut_and_named", too_much_memory_is_cut_and_named),
        ("too_much_code_is_not_read", too_much_code_is_not_read),
        ("a_compiler_that_says_nothing_is_ended", a_compiler_that_says_nothing_is_ended),
        ("a_compiler_that_dies_is_no_fault_of_the_host", a_compiler_that_dies_is_no_fault_of_the_host),
        ("limits_hold_before_anything_is_read", limits_hold_before_anything_is_read),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

fn compiler(command: &str, limits: CompileLimits) -> Compiler {
    let program = std::env::current_exe().expect("this program");
    Compiler::Process(CompilerProcess { program, arguments: vec![OsString::from(command)], limits })
}

/// Prepares it with that compiler, whatever its shape.
fn prepare(compiler: Compiler, wasm: &[u8]) -> Result<(), Refused> {
    let shape = ShapeLimits {
        loop_depth: usize::MAX,
        body_bytes: usize::MAX,
        block_depth: usize::MAX,
        blocks: usize::MAX,
        ..ShapeLimits::default()
    };
    let settings = RuntimeSettings { shape, instances_max: 2, ..RuntimeSettings::new(compiler) };
    let runtime = Runtime::new(settings).expect("a runtime");
    runtime.prepare(wasm).map(|component| assert!(component.size_bytes() > 0))
}

fn small() -> CompileLimits {
    CompileLimits { cpu_base: Duration::from_secs(1), cpu_per_mib: Duration::ZERO, ..CompileLimits::default() }
}

#[track_caller]
fn refused(compiler: Compiler, wasm: &[u8]) -> Refused {
    prepare(compiler, wasm).expect_err("refused")
}

fn an_honest_component_is_compiled_as_by_the_host() {
    let wasm = threshold_rule();
    prepare(compiler("compile", CompileLimits::default()), &wasm).expect("compiled");
    prepare(Compiler::InProcess, &wasm).expect("compiled");
}

fn a_broken_one_is_refused_with_the_compilers_words() {
    // Valid, but with a table larger than any slot: found when the code is loaded.
    let wide = tidemill_runtime::testing::TextGuest::rule(Vec::new()).fields("(table 30000 funcref)").build();
    let refused = refused(compiler("compile", CompileLimits::default()), &wide);
    assert!(matches!(&refused, Refused::Compile(words) if words.contains("table")), "{refused}");
}

fn too_much_time_is_cut_and_named() {
    let wasm = bombs::nested_loops(10_000);
    assert!(wasm.len() < 80 << 10, "{} bytes", wasm.len());
    let refused = refused(compiler("compile", small()), &wasm);
    assert_eq!(refused, Refused::CompileTime { cpu: Duration::from_secs(1) });
    assert!(refused.to_string().contains("more than its 1 s of CPU time: make"), "{refused}");
}

fn too_much_memory_is_cut_and_named() {
    let limits = CompileLimits { memory_bytes: 300 << 20, ..CompileLimits::default() };
    let refused = refused(compiler("compile", limits), &bombs::straight_line(1, 45_000));
    assert_eq!(refused, Refused::CompileMemory { bytes_max: 300 << 20 });
}

fn too_much_code_is_not_read() {
    let limits = CompileLimits { code_bytes_base: 1_000, code_per_byte: 0, ..CompileLimits::default() };
    assert_eq!(refused(compiler("compile", limits), &threshold_rule()), Refused::CodeTooLarge { bytes_max: 1_000 });
    let boasted = refused(compiler("boast", CompileLimits::default()), &threshold_rule());
    assert!(matches!(boasted, Refused::CodeTooLarge { .. }), "{boasted}");
}

fn a_compiler_that_says_nothing_is_ended() {
    let begin = Instant::now();
    let limits = CompileLimits { wall_factor: 1, ..small() };
    let refused = refused(compiler("sleep", limits), &threshold_rule());
    assert!(matches!(refused, Refused::NotNow(_)), "{refused}");
    assert!(begin.elapsed() < Duration::from_secs(300), "it was not waited for");
}

fn a_compiler_that_dies_is_no_fault_of_the_host() {
    let nowhere = CompilerProcess { program: "/nowhere".into(), arguments: Vec::new(), limits: small() };
    let refused_ = refused(Compiler::Process(nowhere), &threshold_rule());
    assert!(matches!(refused_, Refused::NotNow(_)), "{refused_}");
    // Too little even to start in.
    let cramped = CompileLimits { memory_bytes: 1 << 20, ..CompileLimits::default() };
    let refused = refused(compiler("compile", cramped), &threshold_rule());
    assert!(matches!(refused, Refused::Compile(_) | Refused::CompileMemory { .. }), "{refused}");
}

fn limits_hold_before_anything_is_read() {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["compile", "10", "1073741824"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut waiting = command.spawn().expect("a compiler");
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", waiting.id())).expect("a process");
    let holds = |limits: &str, name: &str, values: [&str; 2]| {
        limits.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.split_whitespace().take(2).eq(values)))
    };
    let expected = [
        ("Max cpu time", ["10", "11"]),
        ("Max address space", ["1073741824", "1073741824"]),
        ("Max core file size", ["0", "0"]),
        ("Max file size", ["0", "0"]),
        ("Max open files", ["0", "0"]),
        ("Max processes", ["0", "0"]),
    ];
    let begin = Instant::now();
    // Nothing was sent to it: it gives all this up by itself, and then waits for its first byte.
    while !expected.iter().all(|(name, values)| holds(&of("limits"), name, *values)) {
        assert!(begin.elapsed() < Duration::from_secs(60), "{}", of("limits"));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(of("status").lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])), "{}", of("status"));
    drop(waiting.stdin.take());
    assert!(waiting.wait().expect("its end").success(), "a host that is gone is no fault of the compiler");
}

/// Announces more than any host reads.
fn boast() {
    let mut stdin = std::io::stdin().lock();
    // The request, but for the end that a host never sends.
    let mut head = [0; 9];
    stdin.read_exact(&mut head).expect("a request");
    let length = u64::from_le_bytes(head[1..].try_into().expect("8 bytes"));
    stdin.take(length).read_to_end(&mut Vec::new()).expect("a component");
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&[1]).expect("written");
    stdout.write_all(&u64::MAX.to_le_bytes()).expect("written");
}
