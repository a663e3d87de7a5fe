//! An application meets one `Session`: that of its framework's module. There is none
//! in the root that would compile and then be no argument of a handler.

use cloakroom::Session;

fn main() {}
