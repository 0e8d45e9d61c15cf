//! Printing that survives a reader who has seen enough (`bulkhead show FILE | head`): the standard macros panic there.
//! The exit status stays what it says.

use std::fmt::Arguments;
use std::io::Write;

macro_rules! print {
    ($($text:tt)*) => { $crate::tell::to(&mut std::io::stdout(), format_args!($($text)*)) };
}

macro_rules! println {
    ($($text:tt)*) => { print!("{}\n", format_args!($($text)*)) };
}

macro_rules! eprint {
    ($($text:tt)*) => { $crate::tell::to(&mut std::io::stderr(), format_args!($($text)*)) };
}

macro_rules! eprintln {
    ($($text:tt)*) => { eprint!("{}\n", format_args!($($text)*)) };
}

/// Writes, or gives up quietly: there is nobody left to tell.
pub fn to(stream: &mut dyn Write, text: Arguments<'_>) {
    let _ = stream.write_fmt(text);
}
