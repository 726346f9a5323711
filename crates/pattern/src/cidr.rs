//! Ranges of IP addresses. An address is its bits, and a range the first of them: addresses of both
//! families are compared by those they have, as EventBridge does.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::text::Text;

/// The longest address in text: eight groups of four digits, seven colons.
const ADDRESS_BYTES_MAX: usize = 39;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CidrFlaw {
    NoMask,
    NotAnAddress,
    /// The mask is none, or it leaves a single address.
    Mask {
        below: u32,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Cidr {
    first: u128,
    mask_bits: u32,
}

/// The bits of an address, from the top, and how many it has.
struct Address {
    bits: u128,
    count: u32,
}

impl Cidr {
    pub(crate) fn parse(text: &str) -> Result<Self, CidrFlaw> {
        let (address, mask) = text.split_once('/').ok_or(CidrFlaw::NoMask)?;
        let address = Address::parse(address).ok_or(CidrFlaw::NotAnAddress)?;
        let mask_bits = mask.parse().ok().filter(|bits| *bits < address.count);
        let mask_bits = mask_bits.ok_or(CidrFlaw::Mask { below: address.count })?;
        Ok(Self { first: leading(address.bits, mask_bits), mask_bits })
    }

    pub(crate) fn matches(&self, text: Text<'_>) -> bool {
        let mut decoded = [0; ADDRESS_BYTES_MAX];
        let mut length = 0;
        for c in text.chars() {
            let Some(byte) = decoded.get_mut(length).filter(|_| c.is_ascii()) else { return false };
            *byte = c as u8;
            length += 1;
        }
        let address = str::from_utf8(&decoded[..length]).ok().and_then(Address::parse);
        address.is_some_and(|address| {
            self.mask_bits <= address.count && leading(address.bits, self.mask_bits) == self.first
        })
    }
}

impl Address {
    /// One family or the other; nothing of both, such as `::ffff:10.0.0.1`.
    fn parse(text: &str) -> Option<Self> {
        if text.contains(':') {
            let v6 = (!text.contains('.')).then(|| text.parse::<Ipv6Addr>().ok()).flatten()?;
            return Some(Self { bits: v6.to_bits(), count: Ipv6Addr::BITS });
        }
        let v4: Ipv4Addr = text.parse().ok()?;
        let bits = u128::from(v4.to_bits()) << (Ipv6Addr::BITS - Ipv4Addr::BITS);
        Some(Self { bits, count: Ipv4Addr::BITS })
    }
}

fn leading(bits: u128, count: u32) -> u128 {
    bits & u128::MAX.checked_shl(u128::BITS - count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_the_range_of_its_first_bits() {
        for (cidr, address, expected) in [
            ("10.0.0.0/24", "10.0.0.255", true),
            ("10.0.0.7/24", "10.0.0.255", true),
            ("10.0.0.0/24", "10.0.1.0", false),
            ("10.0.0.0/31", "10.0.0.1", true),
            ("0.0.0.0/0", "2001:db8::7", true),
            ("::/0", "11.0.0.1", true),
            ("2001:db8::/32", "2001:DB8:0:0:0:0:0:7", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("a00::/64", "10.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", false),
            ("10.0.0.0/8", "nope", false),
            ("10.0.0.0/8", "10.0.0.1 and what is longer than an address", false),
            ("10.0.0.0/8", "\u{e9}", false),
        ] {
            let cidr = Cidr::parse(cidr).expect("it is one");
            assert_eq!(cidr.matches(Text::plain(address)), expected, "{cidr:?} {address}");
        }
        let cidr = Cidr::parse("10.0.0.0/8").expect("it is one");
        assert!(cidr.matches(Text::escaped(r"\u00310.0.0.1")));
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for (text, flaw) in [
            ("10.0.0.33", CidrFlaw::NoMask),
            ("bad/8", CidrFlaw::NotAnAddress),
            ("010.0.0.0/8", CidrFlaw::NotAnAddress),
            ("::ffff:10.0.0.0/104", CidrFlaw::NotAnAddress),
            ("10.0.0.33/32", CidrFlaw::Mask { below: 32 }),
            ("10.0.0.0/-1", CidrFlaw::Mask { below: 32 }),
            ("10.0.0.0/", CidrFlaw::Mask { below: 32 }),
            ("::/128", CidrFlaw::Mask { below: 128 }),
        ] {
            assert_eq!(Cidr::parse(text).expect_err("no range"), flaw, "{text}");
        }
    }
}
