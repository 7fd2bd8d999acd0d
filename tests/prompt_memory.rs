//! What an open, idle prompt costs.
//! Absent on purpose: speed.
#![allow(clippy::print_stdout, reason = "helpers of tests are tests")]

use pforte::prompt::{Prompt, Size};
use tokio::sync::mpsc;

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

#[tokio::test]
async fn an_idle_prompt_costs_less_than_32_kib() {
    const PROMPTS: usize = 500;
    let before = resident();
    let mut waiting = Vec::new();
    for _ in 0..PROMPTS {
        let (sender, mut output) = mpsc::channel(16);
        let size = Size { cols: 80, rows: 24 };
        let (mut prompt, keyboard) = Prompt::open("xterm", size, sender);
        let task = tokio::spawn(async move {
            for _ in 0..11 {
                prompt.read_line("pforte> ").await;
            }
        });
        output.recv().await.unwrap();
        for n in 0..10 {
            keyboard.type_bytes(format!("konnektor status -i praxis-{n}\r").as_bytes());
        }
        keyboard.type_bytes(b"konnektor ba");
        // Each line: drawn, ended; the last is drawn twice.
        let mut shown = Vec::new();
        while !shown.ends_with(b"konnektor ba") {
            shown.extend_from_slice(&output.recv().await.unwrap());
        }
        waiting.push((task, keyboard, output));
    }
    let each = (resident() - before) / PROMPTS;
    println!("{each} bytes resident a prompt");
    assert!(each < 32 * 1024, "{each}");
    for (task, keyboard, output) in waiting {
        drop((keyboard, output));
        task.await.unwrap();
    }
}
