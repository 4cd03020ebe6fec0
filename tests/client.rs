//! The reference client against what it was made for: the server's own table, and real servers.

#[path = "client/table.rs"]
mod table;
