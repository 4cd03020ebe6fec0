//! YAML, read by the Python of the tests.

use serde_json::Value;

use crate::tools::{root, succeeds, tool};

const TO_JSON: &str = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";

/// The documents of the file `path` of the repository; `None` if there is no Python with `PyYAML`, which is told.
pub(crate) fn documents(path: &str) -> Option<Vec<Value>> {
    let python = tool("python3")?;
    // A Python without it is none of tests/requirements.txt.
    tool("cfn-lint")?;
    let file = root().join(path);
    Some(serde_json::from_str(&succeeds(&python, &["-c", TO_JSON, file.to_str().unwrap()])).unwrap())
}

/// The one document of the file `path`.
pub(crate) fn document(path: &str) -> Option<Value> {
    let mut documents = documents(path)?;
    assert_eq!(documents.len(), 1, "{path}");
    documents.pop()
}

/// The texts in the list `value`.
pub(crate) fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}
