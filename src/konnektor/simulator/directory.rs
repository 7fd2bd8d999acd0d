//! `connector.sds`, the same shape for all makes.
//! Absent on purpose: its services; nobody here asks for them.

use super::Make;

struct Product {
    vendor: &'static str,
    code: &'static str,
    vendor_name: &'static str,
    name: &'static str,
    hardware: &'static str,
    version: &'static str,
}

fn product(make: Make) -> Product {
    match make {
        Make::Kocobox => Product {
            vendor: "KOCOC",
            code: "kocobox",
            vendor_name: "KoCo Connector GmbH",
            name: "KoCoBox MED+",
            hardware: "2.0.0",
            version: "5.1.0",
        },
        Make::Secunet => Product {
            vendor: "SECUN",
            code: "secu_kon",
            vendor_name: "secunet Security Networks AG",
            name: "secunet konnektor",
            hardware: "2.0.0",
            version: "5.53.0",
        },
        Make::Rise => Product {
            vendor: "RISEG",
            code: "RKONN",
            vendor_name: "RISE GmbH",
            name: "RISE Konnektor",
            hardware: "1.0.0",
            version: "5.0.2",
        },
    }
}

/// `connector.sds`, `gemSpec_Kon` TIP1-A_4528.
pub(super) fn directory(make: Make, firmware: &str) -> String {
    let firmware: String = firmware.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').collect();
    let Product { vendor, code, vendor_name, name, hardware, version } = product(make);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<ns4:ConnectorServices xmlns:ns2="http://ws.gematik.de/int/version/ProductInformation/v1.1" xmlns:ns4="http://ws.gematik.de/conn/ServiceDirectory/v3.1">
  <ns2:ProductInformation>
    <ns2:InformationDate>2026-01-01T00:00:00Z</ns2:InformationDate>
    <ns2:ProductTypeInformation><ns2:ProductType>Konnektor</ns2:ProductType><ns2:ProductTypeVersion>{version}</ns2:ProductTypeVersion></ns2:ProductTypeInformation>
    <ns2:ProductIdentification>
      <ns2:ProductVendorID>{vendor}</ns2:ProductVendorID>
      <ns2:ProductCode>{code}</ns2:ProductCode>
      <ns2:ProductVersion><ns2:Local><ns2:HWVersion>{hardware}</ns2:HWVersion><ns2:FWVersion>{firmware}</ns2:FWVersion></ns2:Local></ns2:ProductVersion>
    </ns2:ProductIdentification>
    <ns2:ProductMiscellaneous><ns2:ProductVendorName>{vendor_name}</ns2:ProductVendorName><ns2:ProductName>{name}</ns2:ProductName></ns2:ProductMiscellaneous>
  </ns2:ProductInformation>
  <ns4:TLSMandatory>true</ns4:TLSMandatory>
  <ns4:ClientAutMandatory>true</ns4:ClientAutMandatory>
</ns4:ConnectorServices>
"#
    )
}
