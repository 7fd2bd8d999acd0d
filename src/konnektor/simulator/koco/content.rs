//! What a simulated box holds at first: 19 services, shaped after `gemSpec_Kon` (`TAB_KON_506` to 522) where nothing else is known.
//! Absent on purpose: anything of a real practice. The patients' names are there to be found missing in every backup.

use std::net::IpAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::super::folder::Folder;

/// The member of `lanwanservice` that says where the box is.
pub(super) const LAN_ADDRESS: &str = "ANLW_LAN_IP_ADDRESS";

/// Names in the simulated box's card slots that nobody outside may ever see.
pub const PATIENTS: [&str; 3] = ["Erika Testpatientin", "Max Beispielkranker", "Dr. Heiko Probearzt"];

/// The services' names, as BackupKonnektor lists them.
pub const SERVICES: [&str; 19] = [
    "infoservice",
    "certificateservice",
    "cardservice",
    "infomodell",
    "lanwanservice",
    "signservice",
    "cardterminalservice",
    "usermanagement",
    "vpnservice",
    "ntpservice",
    "protocolservice",
    "dnsservice",
    "update",
    "clientsystem-certificates",
    "management",
    "clientsysteme",
    "fmvsdm",
    "cardterminals",
    "registrationservice",
];

/// Writes each service's file that is not there yet.
pub(in super::super) fn write_missing(folder: &Folder, lan: Option<IpAddr>) -> std::io::Result<()> {
    for service in SERVICES {
        folder.write_missing(service, || {
            let mut value = of(service);
            if let (Some(lan), Some(held)) = (lan, value.get_mut(LAN_ADDRESS)) {
                *held = json!(lan.to_string());
            }
            value
        })?;
    }
    Ok(())
}

/// What the service left the factory with, cards aside; `None` where that never changes.
pub(super) fn factory(service: &str, lan: &str, user: &str) -> Option<Value> {
    let mut value = match service {
        "infoservice" => return None,
        "infomodell" => {
            json!({"mandanten": [], "arbeitsplaetze": [], "aufrufkontexte": [], "remotePinKts": []})
        }
        "lanwanservice" => {
            json!({LAN_ADDRESS: lan, "ANLW_LAN_NETMASK": "255.255.255.0", "ANLW_WAN_ADAPTER_MODUS": "DISABLED", "MTU": 1500})
        }
        "usermanagement" => json!({"MGM_USER_LIST": [{"USERNAME": user, "ROLE": "SUPER_ADMIN"}]}),
        "clientsystem-certificates" => json!({"certificates": []}),
        "cardterminals" => json!([]),
        "registrationservice" => {
            json!({"MGM_ZGDP_CONTRACTID": "", "MGM_ZGDP_SMCB": "", "MGM_TI_ACCESS_GRANTED": "DISABLED"})
        }
        other => of(other),
    };
    let plain: &[(&str, Value)] = &match service {
        "cardservice" => vec![("CARD_TIMEOUT_CARD", json!(120))],
        "cardterminalservice" => vec![("KEEP_ALIVE_INTERVAL", json!(30))],
        "vpnservice" => vec![("VPN_TI_MTU", json!(1500)), ("VPN_SIS_MTU", json!(1500))],
        "ntpservice" => vec![("NTP_SERVER_ADDR", json!(""))],
        "protocolservice" => vec![("LOG_DAYS", json!(90)), ("SECURITY_LOG_DAYS", json!(180))],
        "dnsservice" => vec![("DNS_SERVERS_INT", json!([])), ("DNS_DOMAIN_VPN_ZUGD_INT", json!(""))],
        "update" => vec![("KSR_AUTODOWNLOAD", json!("DISABLED"))],
        "management" => vec![("MGM_KONN_HOSTNAME", json!("konnektor")), ("MGM_REMOTE_ALLOWED", json!(false))],
        "clientsysteme" => vec![("clientSystems", json!([])), ("ANCL_CAUT_MODE", json!("PASSWORD"))],
        "signservice" => vec![("SAK_MAX_DOCUMENTS", json!(100))],
        "fmvsdm" => vec![("AUTOUPDATE_VSD", json!(false))],
        "certificateservice" => vec![("CERT_CRL_DOWNLOAD_ADDRESS", json!(""))],
        _ => vec![],
    };
    for (name, at_factory) in plain {
        if let Some(held) = value.get_mut(name) {
            *held = at_factory.clone();
        }
    }
    Some(value)
}

/// Starts as a real KoCoBox's PKCS#12 does (BER, indefinite length); it holds no key.
pub(in super::super) fn pkcs12(seed: u8) -> String {
    let mut bytes = vec![0x30, 0x80, 0x02, 0x01, 0x03, 0x30, 0x80];
    bytes.extend((0..1800_u32).map(|n| n.wrapping_mul(31).wrapping_add(u32::from(seed)).to_le_bytes()[0]));
    BASE64_STANDARD.encode(bytes)
}

fn of(service: &str) -> Value {
    match service {
        "infoservice" => {
            json!({"PRODUCT": "KoCoBox MED+", "FW_VERSION": "5.5.16", "HW_VERSION": "2.0.0", "SERIAL": "DEMO-0000-0001",
            "OPERATION_STATE": [{"CONDITION": "EC_Connector_Software_Out_Of_Date", "VALUE": false}]})
        }
        "certificateservice" => {
            json!({"CERT_CRL_DOWNLOAD_ADDRESS": "http://crl.example/crl", "CERT_EXPIRATION_WARN_DAYS": 90})
        }
        "cardservice" => json!({"CARD_TIMEOUT_CARD": 300, "CARDS": [
            {"CARD_HANDLE": "SMC-B-1", "CARD_TYPE": "SMC-B", "ICCSN": "80276883110000000001", "CT_ID": "CT_ID_0001", "SLOT_ID": 2},
            {"CARD_HANDLE": "EGK-7", "cardType": "EGK", "ICCSN": "80276881049999990001", "CARD_HOLDER_NAME": PATIENTS[0], "KVNR": "X110400001"},
            {"CARD_HANDLE": "HBA-3", "cardType": "HBAx", "ICCSN": "80276883110000000009", "CardHolderName": PATIENTS[2]}]}),
        "infomodell" => {
            json!({"mandanten": [{"mandantId": "M1", "name": "Demopraxis", "smb": ["80276883110000000001"]}],
            "arbeitsplaetze": [{"workplaceId": "Empfang", "ctIds": ["CT_ID_0001"]}, {"workplaceId": "Sprechzimmer1", "ctIds": ["CT_ID_0002"]}],
            "aufrufkontexte": [{"mandantId": "M1", "clientSystemId": "PVS", "workplaceId": "Empfang"}],
            "remotePinKts": [{"mandantId": "M1", "workplaceId": "Empfang", "ctId": "CT_ID_0002"}]})
        }
        "lanwanservice" => {
            json!({"ANLW_LAN_IP_ADDRESS": "192.168.2.100", "ANLW_LAN_NETMASK": "255.255.255.0", "ANLW_WAN_ADAPTER_MODUS": "DISABLED", "MTU": 1400})
        }
        "signservice" => json!({"SAK_SIMPLE_SIGNATURE_MODE": "SE#1", "SAK_MAX_DOCUMENTS": 250}),
        "cardterminalservice" => {
            json!({"CTM_SERVICE_DISCOVERY_PORT": 4742, "CTM_SERVICE_DISCOVERY_CYCLE": 10, "KEEP_ALIVE_INTERVAL": 10,
            "slotInfos": [{"ctId": "CT_ID_0001", "slotNo": 1, "card": {"type": "EGK", "cardHolderName": PATIENTS[1], "kvnr": "X110400002"}}]})
        }
        "usermanagement" => {
            json!({"MGM_USER_LIST": [{"USERNAME": "koco-root", "ROLE": "SUPER_ADMIN"}, {"USERNAME": "fernwartung", "ROLE": "REMOTE_ADMIN"}]})
        }
        "vpnservice" => json!({"VPN_TI_MTU": 1318, "VPN_SIS_MTU": 1318, "HASH_AND_URL": "DISABLED"}),
        "ntpservice" => {
            json!({"NTP_SERVER_ADDR": "192.168.2.1", "NTP_TIMEZONE": "Europe/Berlin", "NTP_WARN_PERIOD": 30})
        }
        "protocolservice" => {
            json!({"LOG_DAYS": 180, "SECURITY_LOG_DAYS": 365, "LOG_SUCCESSFUL_CRYPTO_OPS": "DISABLED", "FM_VSDM_LOG_DAYS": 180})
        }
        "dnsservice" => {
            json!({"DNS_SERVERS_INT": ["192.168.2.1"], "DNS_DOMAIN_VPN_ZUGD_INT": "vpnzugd.example", "DNS_TTL": 86_400})
        }
        "update" => {
            json!({"KSR_AUTODOWNLOAD": "ENABLED", "MGM_KSR_SHOW_TRIAL_UPDATES": "DISABLED", "KSR_UPDATE_TIME": "SUN/02:00"})
        }
        "clientsystem-certificates" => json!({"certificates": [
            {"name": "PVS-Server", "clientSystemId": "PVS", "notAfter": "2029-08-06", "pkcs12": pkcs12(1)},
            {"name": "Labor", "clientSystemId": "LABOR", "notAfter": "2029-08-06", "pkcs12": pkcs12(2)}]}),
        "management" => {
            json!({"MGM_KONN_HOSTNAME": "kocobox1", "MGM_LU_ONLINE": "ENABLED", "MGM_LU_SAK": "ENABLED", "MGM_STANDALONE_KON": false, "MGM_REMOTE_ALLOWED": true})
        }
        "clientsysteme" => {
            json!({"ANCL_TLS_MANDATORY": "ENABLED", "ANCL_CAUT_MANDATORY": "ENABLED", "ANCL_CAUT_MODE": "CERTIFICATE", "ANCL_DVD_OPEN": "DISABLED",
            "clientSystems": [{"clientSystemId": "PVS"}, {"clientSystemId": "LABOR"}]})
        }
        "fmvsdm" => {
            json!({"VSDM_INTERMEDIAER": "1", "VSDM_MAXTIME": 50, "AUTOUPDATE_VSD": true, "PN_PERSISTENT_TIME": 60})
        }
        "cardterminals" => {
            json!([terminal(1, PATIENTS[0], "X110400001"), terminal(2, PATIENTS[1], "X110400002")])
        }
        "registrationservice" => {
            json!({"MGM_ZGDP_CONTRACTID": "DEMO-4711", "MGM_ZGDP_SMCB": "80276883110000000001", "MGM_TI_ACCESS_GRANTED": "ENABLED"})
        }
        _ => json!({}),
    }
}

fn terminal(number: u8, patient: &str, kvnr: &str) -> Value {
    json!({"CTID": format!("CT_ID_000{number}"), "HOSTNAME": format!("ORGA6100-DEMO{number}"), "IS_PHYSICAL": true, "MAC_ADRESS": format!("00:0D:F8:00:00:0{number}"),
        "IP_ADRESS": format!("192.168.2.11{number}"), "TCP_PORT": 4742, "SLOTCOUNT": 4, "CORRELATION": "aktiv", "CONNECTED": true, "VALID_VERSION": true,
        "slotInfos": [
            {"slotNo": 1, "cardType": "EGK", "cardHolderName": patient, "kvnr": kvnr, "iccsn": "80276881049999990001"},
            {"slotNo": 2, "cardType": "SMC-B", "iccsn": "80276883110000000001", "telematikId": "1-DEMO-1"},
            {"slotNo": 4, "cardType": "SMC-KT", "iccsn": "80276883110000000010", "insurantName": patient}]})
}
