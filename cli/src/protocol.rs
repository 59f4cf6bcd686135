//! Names of the upper-layer protocols that DATA chunks carry, by their payload protocol identifiers (RFC 9260
//! 3.3.1).

/// Returns the name of a payload protocol identifier, as in IANA's registry of SCTP parameters but without
/// "3GPP". `None` for 0, which means no protocol, and for identifiers that this module does not know.
#[must_use]
pub fn protocol_name(identifier: u32) -> Option<&'static str> {
    let found = NAMES.binary_search_by_key(&identifier, |(known, _)| *known).ok()?;
    Some(NAMES[found].1)
}

/// Payload protocol identifiers in ascending order, with their names.
const NAMES: &[(u32, &str)] = &[
    (1, "IUA"),
    (2, "M2UA"),
    (3, "M3UA"),
    (4, "SUA"),
    (5, "M2PA"),
    (6, "V5UA"),
    (7, "H.248"),
    (8, "BICC"),
    (9, "TALI"),
    (10, "DUA"),
    (11, "ASAP"),
    (12, "ENRP"),
    (13, "H.323"),
    (16, "DDP segment"),
    (17, "DDP stream control"),
    (18, "S1AP"),
    (19, "RUA"),
    (20, "HNBAP"),
    (21, "ForCES-HP"),
    (22, "ForCES-MP"),
    (23, "ForCES-LP"),
    (24, "SBc-AP"),
    (25, "NBAP"),
    (27, "X2AP"),
    (29, "LCS-AP"),
    (31, "SABP"),
    (42, "RNA"),
    (43, "M2AP"),
    (44, "M3AP"),
    (45, "SSH"),
    (46, "Diameter"),
    (47, "Diameter/DTLS"),
    (50, "WebRTC DCEP"),
    (51, "WebRTC string"),
    (53, "WebRTC binary"),
    (55, "PUA"),
    (56, "WebRTC empty string"),
    (57, "WebRTC empty binary"),
    (58, "XwAP"),
    (60, "NGAP"),
    (61, "XnAP"),
    (62, "F1AP"),
    (64, "E1AP"),
    (66, "NGAP/DTLS"),
    (67, "XnAP/DTLS"),
    (68, "F1AP/DTLS"),
    (69, "E1AP/DTLS"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_of_mobile_cores_have_names() {
        let named = [(3, "M3UA"), (18, "S1AP"), (46, "Diameter"), (60, "NGAP")];
        assert!(named.iter().all(|(identifier, name)| protocol_name(*identifier) == Some(name)));
        assert_eq!([0, 26, u32::MAX].map(protocol_name), [None; 3]);
        assert!(NAMES.is_sorted_by(|a, b| a.0 < b.0), "binary search needs this order");
    }
}
