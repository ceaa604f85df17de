RELEASE = "v1"
FAULT = ""
