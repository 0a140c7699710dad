//! Datagrams that the kernel dropped because a socket's buffer was full, as the kernel counts them.
//!
//! Read from its table when somebody asks: the socket's own report comes only with the next
//! datagram, and would cost each of them a control message.

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

/// Datagrams that the sockets with these inodes have lost; 0 where the kernel shows no table.
pub fn kernel_drops(inodes: &[u64]) -> u64 {
    let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
    let texts = tables.iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.map(|text| drops_in(&text, inodes)).sum()
}

/// Sums the last column over the rows whose tenth is one of `inodes` (proc_net_udp of Linux).
fn drops_in(table: &str, inodes: &[u64]) -> u64 {
    let row = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let inode: u64 = columns.nth(9)?.parse().ok()?;
        let drops: u64 = columns.next_back()?.parse().ok()?;
        inodes.contains(&inode).then_some(drops)
    };
    table.lines().skip(1).filter_map(row).sum()
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
        assert_eq!(drops_in(table, &[7001, 7003, 99]), 35);
        assert_eq!(drops_in("", &[1]), 0);
        assert_eq!(drops_in("head\nx y\n", &[1]), 0);
    }

    #[test]
    fn a_socket_of_our_own_is_found_in_the_table() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = inode(&socket).unwrap();
        let text = fs::read_to_string("/proc/self/net/udp").unwrap();
        assert!(text.contains(&inode.to_string()));
        assert_eq!(kernel_drops(&[inode]), 0);
    }
}
