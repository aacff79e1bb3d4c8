//! One service with one instance and one client, each a Pod with a sidecar.

use super::cases;
use segue_cli::lab::{self, ControlPlane, ControlPlaneSpec, Lab, Mode, Pod, PodSpec, SidecarSpec};
use std::{
    ffi::OsString,
    fs,
    net::{IpAddr, Ipv4Addr},
    process::ExitCode,
    time::Duration,
};

/// How clients call the service.
pub(crate) const HOST: &str = "checkout.shop";
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const GRACE: Duration = Duration::from_secs(10);

/// Starts the mesh and tells what its client says of each case.
pub(crate) async fn run(mode: Mode, words: &[&str]) -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let manifests = folder.path().join("manifests");
    fs::create_dir(&manifests).unwrap();
    let hosts: Vec<(String, IpAddr)> = lab::service_names("checkout", "shop")
        .map(|name| (name, SERVICE.into()))
        .into();
    let lab = Lab::start(mode, folder.path(), &hosts).await.unwrap();
    let [server_at, client_at] = [lab.allocate(), lab.allocate()];
    let documents = DOCUMENTS
        .replace("SERVER", &server_at.to_string())
        .replace("CLIENT", &client_at.to_string());
    fs::write(manifests.join("all.yaml"), documents).unwrap();
    let spec = ControlPlaneSpec {
        manifests,
        state: folder.path().join("state"),
        extra: Vec::new(),
    };
    let control_plane = ControlPlane::start(&lab, spec).await.unwrap();
    let pod = |name: &str, address, app: Vec<OsString>| PodSpec {
        workload: format!("shop/{name}"),
        address: Some(address),
        app: Some(app),
        sidecar: Some(SidecarSpec {
            control_plane: control_plane.url(),
            state: folder.path().join(name),
            extra: Vec::new(),
        }),
        lines: true,
        ..PodSpec::default()
    };
    let own: OsString = "/proc/self/exe".into();
    let server = pod("checkout-0", server_at, vec![own.clone(), "serve".into()]);
    let mut server = lab.start_pod(server).await.unwrap();
    let mut served = server.app_lines();
    assert_eq!(served.recv().await.as_deref(), Some("serving"));
    let mut check = vec![own, "check".into(), server_at.to_string().into()];
    check.extend(words.iter().map(OsString::from));
    let client = lab.start_pod(pod("web", client_at, check)).await.unwrap();
    let well = tell(client).await;
    server.stop(GRACE).await.unwrap();
    if !well {
        // The folder goes with this process.
        for name in [
            "shop-web.app.log",
            "shop-web.sidecar.log",
            "shop-checkout-0.sidecar.log",
        ] {
            let log = fs::read_to_string(lab.logs().join(name)).unwrap_or_default();
            println!("--- {name}\n{log}");
        }
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Prints the client's lines; true where all went well.
async fn tell(mut client: Pod) -> bool {
    let mut lines = client.app_lines();
    loop {
        tokio::select! {
            biased;
            line = lines.recv() => match line.as_deref() {
                Some(cases::WELL) => break,
                Some(line) => println!("{line}"),
                None => return false,
            },
            exit = client.exited() => {
                println!("the client ended: {exit:?}");
                return false;
            }
        }
    }
    client.stop(GRACE).await.unwrap();
    true
}

const DOCUMENTS: &str = "\
apiVersion: v1
kind: Service
metadata: {name: checkout, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  selector: {app: checkout}
  ports:
    - {name: http, port: 80, targetPort: 8080, appProtocol: http}
    - {name: grpc, port: 50051, targetPort: 50051, appProtocol: grpc}
    - {name: h2c, port: 82, targetPort: 8082, appProtocol: kubernetes.io/h2c}
    - {name: tls, port: 443, targetPort: 8443, appProtocol: https}
    - {name: smtp, port: 25, targetPort: 2525, appProtocol: smtp}
    - {name: mislabelled, port: 81, targetPort: 8081, appProtocol: http}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec:
  selector: {app: nobody}
  ports: [{name: grpc, port: 50051, targetPort: 50051, appProtocol: grpc}]
---
apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {name: checkout-0, namespace: shop, labels: {app: checkout}}
spec: {version: v1, address: SERVER}
---
apiVersion: segue.dev/v1alpha1
kind: Workload
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {version: v1, address: CLIENT}
";
