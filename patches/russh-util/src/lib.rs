//! What russh asks of `russh-util`: a task, and a clock. The registry's crate moves a session's future into an async block that awaits it,
//! which has room for it twice: 12 KiB more for each connection, as long as it lasts. This one spawns the future itself.
//! Absent on purpose: wasm, and anything that russh 0.65 does not use. To be left out once upstream spawns it so.

/// Tasks.
pub mod runtime {
    use std::fmt;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    /// A task panicked, or its runtime has ended.
    #[derive(Debug)]
    pub struct JoinError;

    impl fmt::Display for JoinError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("JoinError")
        }
    }

    impl std::error::Error for JoinError {}

    /// A running task; dropped, the task goes on.
    pub struct JoinHandle<T: Send>(tokio::task::JoinHandle<T>);

    /// Runs it on the current runtime.
    pub fn spawn<F, T>(future: F) -> JoinHandle<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        JoinHandle(tokio::spawn(future))
    }

    impl<T: Send> Future for JoinHandle<T> {
        type Output = Result<T, JoinError>;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            Pin::new(&mut self.0).poll(cx).map(|ended| ended.map_err(|_| JoinError))
        }
    }
}

/// The clock.
pub mod time {
    pub use std::time::Instant;
}
