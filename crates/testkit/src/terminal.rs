//! A terminal of a test's own: what a program prints on it, and what it reads from it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};

/// Dropped, it hangs up.
pub struct Terminal {
    controller: File,
    user: File,
}

impl Terminal {
    pub fn open() -> Terminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).expect("a pseudo-terminal");
        grantpt(&controller).expect("it is ours");
        unlockpt(&controller).expect("it is ours");
        let user = ioctl_tiocgptpeer(&controller, flags).expect("its other end");
        Terminal { controller: controller.into(), user: user.into() }
    }

    /// One of a program's streams.
    pub fn stream(&self) -> Stdio {
        self.user.try_clone().expect("a descriptor is free").into()
    }

    /// As somebody types it.
    pub fn type_in(&mut self, text: &str) {
        self.controller.write_all(text.as_bytes()).expect("it takes a line");
    }

    /// Everything that is shown until no program holds it any more.
    pub async fn shown(self) -> String {
        self.shown_until("\0").await
    }

    /// The same, or until this was shown: for a program that does not end.
    pub async fn shown_until(self, last: &str) -> String {
        let Terminal { mut controller, user } = self;
        drop(user);
        let last = last.as_bytes().to_vec();
        let read = tokio::task::spawn_blocking(move || {
            let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
            // Its end is told as an error: nobody has the other end.
            while let Ok(read @ 1..) = controller.read(&mut piece) {
                shown.extend_from_slice(&piece[..read]);
                if memchr::memmem::find(&shown, &last).is_some() {
                    break;
                }
            }
            shown
        });
        String::from_utf8_lossy(&read.await.expect("reading does not panic")).replace("\r\n", "\n")
    }
}
