#include "backend/service/model_registry.h"
