//! Datagrams that the kernel dropped because a socket's buffer was full, as the kernel counts them.
//!
//! Read from its table when somebody asks: the socket's own report comes only with the next
//! datagram, and would cost each of them a control message.

use std::collections::HashMap;
use std::fs;
use std::os::fd::AsFd;

use rustix::io::Errno;

/// What identifies a socket in the kernel's table.
///
/// # Errors
/// What the kernel says.
pub fn inode(socket: impl AsFd) -> Result<u64, Errno> {
    Ok(rustix::fs::fstat(socket)?.st_ino)
}

/// What sockets have lost, as the kernel told it at one moment.
#[derive(Debug, Default)]
pub struct KernelDrops(HashMap<u64, u64>);

impl KernelDrops {
    /// Reads the kernel's table; empty where the kernel shows none.
    pub fn read() -> Self {
        let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
        let texts = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
        texts.fold(Self::default(), |mut drops, text| {
            drops.add(&text);
            drops
        })
    }

    /// Takes the inode and the drops of each row: the tenth column and the last (proc_net_udp of
    /// Linux). Most sockets have lost nothing, and are left out.
    fn add(&mut self, table: &str) {
        let row = |line: &str| {
            let mut columns = line.split_ascii_whitespace();
            let inode: u64 = columns.nth(9)?.parse().ok()?;
            let drops: u64 = columns.next_back()?.parse().ok()?;
            (drops > 0).then_some((inode, drops))
        };
        self.0.extend(table.lines().skip(1).filter_map(row));
    }

    /// Datagrams that the sockets with these inodes have lost.
    pub fn of(&self, inodes: &[u64]) -> u64 {
        inodes.iter().filter_map(|inode| self.0.get(inode)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drops_of_the_right_rows_are_summed() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1146: 0100007F:D2F0 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7001 2 0000000000000000 5\n\
            1147: 0100007F:D2F1 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7002 2 0000000000000000 9\n\
            1148: 0100007F:D2F2 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 7003 2 0000000000000000 30\n";
        let mut drops = KernelDrops::default();
        for text in [table, "", "head\nx y\n"] {
            drops.add(text);
        }
        assert_eq!((drops.of(&[7001, 7003, 99]), drops.of(&[1])), (35, 0));
    }

    #[test]
    fn a_socket_of_our_own_is_found_in_the_table() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = inode(&socket).unwrap();
        let text = fs::read_to_string("/proc/self/net/udp").unwrap();
        assert!(text.contains(&inode.to_string()));
        assert_eq!(KernelDrops::read().of(&[inode]), 0);
    }
}
