//! The operator is installed, upgraded, looked at and removed from the command line.

use e2e::control_plane::ControlPlane;

use crate::{
    commands::{ran, told},
    users::Users,
};

const OLD: &str = "registry.example.com/istio-operator:1";
const NEW: &str = "registry.example.com/istio-operator:2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_is_installed_upgraded_and_removed() {
    let plane = ControlPlane::reuse_or_start().await.unwrap();
    let users = Users::create(&plane).await;
    let install = ["operator", "install", "--image", OLD];
    let said = ran(&users.reader, &install);
    assert_eq!((said.code, said.output.as_str()), (1, ""), "{said:?}");
    assert!(
        said.errors.contains("customresourcedefinitions"),
        "{said:?}"
    );
    let (_, results) = told(&users.admin, &[&install[..], &["--dry-run"]].concat());
    assert!(results.as_array().unwrap().len() > 8, "{results}");
    assert!(
        plane
            .kubectl(["get", "namespace", "istio-operator"])
            .is_err()
    );

    let said = ran(&users.admin, &[&install[..], &["--wait"]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.errors.ends_with("available\n"), "{said:?}");
    assert_eq!(image(&plane), OLD);
    let again = ran(&users.admin, &install);
    assert!(again.errors.contains("is installed already"), "{again:?}");
    let said = ran(
        &users.admin,
        &["operator", "upgrade", "--image", NEW, "--wait"],
    );
    assert_eq!(said.code, 0, "{said:?}");
    let deployment = "Deployment istio-operator/istio-operator ";
    let line = said
        .output
        .lines()
        .find(|line| line.starts_with(deployment));
    assert!(line.unwrap().ends_with("changed"), "{said:?}");
    assert_eq!(image(&plane), NEW);

    it_is_looked_at(&plane, &users);
    it_goes_when_nothing_is_installed(&plane, &users);
}

fn it_is_looked_at(plane: &ControlPlane, users: &Users) {
    // The pods are simulated, so they have no logs; what is said of that is the API server's.
    let said = ran(&users.admin, &["operator", "logs"]);
    assert!(said.code != 0 || !said.output.is_empty(), "{said:?}");
    let said = ran(&users.nobody, &["operator", "logs"]);
    assert!(said.errors.contains("cannot list"), "{said:?}");
    for (name, user) in [("admin", &users.admin), ("reader", &users.reader)] {
        let dir = plane.dir().join(format!("dump-{name}"));
        let said = ran(user, &["operator", "dump", dir.to_str().unwrap()]);
        assert_eq!(said.code, 0, "{said:?}");
        let objects = std::fs::read_to_string(dir.join("operator/objects.yaml")).unwrap();
        assert!(objects.contains(NEW), "{objects}");
        let again = ran(user, &["operator", "dump", dir.to_str().unwrap()]);
        assert_eq!(again.code, 1, "a directory that is there stays as it is");
    }
}

fn it_goes_when_nothing_is_installed(plane: &ControlPlane, users: &Users) {
    let cr = "{apiVersion: install.istio.io/v1alpha1, kind: IstioOperator, metadata: {name: a, namespace: people}}";
    plane.apply(cr).unwrap();
    let said = ran(&users.admin, &["operator", "remove", "--yes"]);
    assert!(said.errors.contains("people/a"), "{said:?}");
    assert_eq!(image(plane), NEW);
    plane
        .kubectl(["delete", "iop", "a", "-n", "people"])
        .unwrap();
    let said = ran(&users.admin, &["operator", "remove"]);
    assert!(said.errors.contains("say --yes"), "{said:?}");
    let said = ran(&users.admin, &["operator", "remove", "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    let left = [
        "get",
        "all,clusterrole,clusterrolebinding",
        "-A",
        "-o",
        "name",
        "-l",
        "app.kubernetes.io/name=istio-operator",
    ];
    assert_eq!(plane.kubectl(left).unwrap(), "");
    plane
        .kubectl(["get", "crd", "istiooperators.install.istio.io"])
        .unwrap();
    let said = ran(&users.admin, &["operator", "upgrade"]);
    assert!(said.errors.contains("there is no operator"), "{said:?}");
}

fn image(plane: &ControlPlane) -> String {
    let path = "-o=jsonpath={.spec.template.spec.containers[0].image}";
    let deployment = [
        "get",
        "deployment",
        "istio-operator",
        "-n=istio-operator",
        path,
    ];
    plane.kubectl(deployment).unwrap()
}
