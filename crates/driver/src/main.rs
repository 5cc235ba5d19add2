//! One binary: restic commands for operators, datastore actions for OpenNebula.

fn main() {}
